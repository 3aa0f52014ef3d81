"""What people write: Webhook, EventType and Dispatcher, their rules and CRDs, reasons of conditions. No I/O."""
