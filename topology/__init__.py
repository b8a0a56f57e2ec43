"""What the site is and who may reach whom, in plain values; imports no provider."""
