"""What the integration tests are made of: the program, its peers, its credentials."""
