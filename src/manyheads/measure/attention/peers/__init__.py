"""What a user would otherwise take, one small function each; a package that is not installed is a row, not an error."""
