"""From pose candidates to people: proposals integration or NMS, then assembly."""
