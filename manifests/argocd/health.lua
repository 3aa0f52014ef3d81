-- What Argo CD shows for a Webhook, an EventType or a Dispatcher. docs/gitops.md says how it gets there.
-- Progressing until the operator has looked at this generation; from then on the condition Ready decides.
local status = obj.status or {}
local seen = status.observedGeneration or -1
if seen < (obj.metadata.generation or 0) then
  return { status = "Progressing", message = "the operator has not looked at this version yet" }
end

for _, condition in ipairs(status.conditions or {}) do
  if condition.type == "Ready" then
    if condition.status == "True" then
      return { status = "Healthy", message = condition.message }
    end
    -- Senders start, or load what was written for them. A sync that waits must not fail over that.
    local waits = { Pending = true, NoSenders = true, NoGateway = true, RollingOut = true, NATSUnreachable = true,
      LosesMost = true }
    if condition.status == "Unknown" or waits[condition.reason] then
      return { status = "Progressing", message = condition.message }
    end
    return { status = "Degraded", message = condition.message }
  end
end

return { status = "Progressing", message = "the operator has not said yet whether it is ready" }
