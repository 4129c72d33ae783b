"""Live answers: producing, keeping and ending them."""
