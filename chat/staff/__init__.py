"""The pages of the staff: failed answers, and the batches that retry them."""
