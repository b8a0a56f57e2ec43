"""Who can open a connection to whom, from facts alone; pure Python, without provider, network or clock."""
