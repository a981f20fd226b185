"""The one exception that stands for a mistake of the user's, never of the program's."""


class UserError(Exception):
    """One sentence for the user: what is wrong, where (file, row, key) and what to do. Shown without a traceback."""
