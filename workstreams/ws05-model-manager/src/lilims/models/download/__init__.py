"""Files from web servers: resumed, verified, kept by content until the model that they are of is whole."""
