"""Commands about jobs, sites, images and the installation."""
