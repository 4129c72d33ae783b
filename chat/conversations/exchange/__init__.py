"""Export and import of conversations: the forms of archives, and the jobs that write and read them."""
