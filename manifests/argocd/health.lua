-- What Argo CD shows for a Webhook, an EventType, a Dispatcher or a Replay. docs/gitops.md says how it gets there.
-- Progressing until the operator has looked at this generation; from then on the condition Ready decides. A Replay is
-- Progressing until it is Complete or Failed.
local status = obj.status or {}

if obj.kind == "Replay" then
  local message = "nothing of it was done yet"
  for _, condition in ipairs(status.conditions or {}) do
    if condition.status == "True" and condition.type == "Complete" then
      return { status = "Healthy", message = condition.message }
    elseif condition.status == "True" and condition.type == "Failed" then
      return { status = "Degraded", message = condition.message }
    elseif condition.type == "Complete" then
      message = condition.message
    end
  end
  return { status = "Progressing", message = message }
end

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
