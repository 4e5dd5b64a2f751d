"""The same application in several frameworks, each a package from the index."""
