"""What is shipped: the Debian package, the tarball with its list of components, the documentation's site."""
