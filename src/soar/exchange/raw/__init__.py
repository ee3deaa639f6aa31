"""Raw logs of other robots, as their recorders wrote them."""
