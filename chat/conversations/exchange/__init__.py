"""Taking conversations away and bringing them here: the forms of archives, and the jobs that write and read them."""
