"""The one error that users see: a sentence that names the value, the limit and the remedy."""

LONGEST = 600  # characters of a sentence


class VergenceError(Exception):
    """Bad input or a state that the user can mend.

    The command line prints it as one sentence without a traceback; Python callers catch it by type.

    Args:
        problem: what is wrong, with the offending value and the limit it breaks.
        remedy: what to do about it.
    """

    def __init__(self, problem: str, remedy: str = "") -> None:
        problem = " ".join(problem.split())
        if len(problem) > LONGEST:  # a value that fills a page
            problem = f"{problem[: LONGEST // 2]} ... {problem[-LONGEST // 2 :]}"
        self.problem = problem
        self.remedy = remedy
        super().__init__(f"{problem.rstrip('.')}. {remedy}".strip() if remedy else problem)
