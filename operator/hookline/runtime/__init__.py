"""What every process needs: tasks and their end, logs, metrics, health pages, tuning. Knows nothing of webhooks."""
