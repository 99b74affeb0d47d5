"""Names that one can remember and read out, for jobs."""

import secrets
from collections.abc import Container

HOW = """
    amber brave brisk calm clear coral crisp early fair fond fresh gentle glad golden green happy honest jolly keen
    kind light lively lucky mellow merry mild neat nimble noble patient plain polite proud quick quiet ready round
    silver smart snug steady still sunny swift tidy true warm wise
""".split()  # noqa: SIM905
WHO = """
    badger beaver bison crane cricket curlew dolphin dove eagle falcon ferret finch fox gecko gull hare hawk heron
    ibex jay kestrel koala lark lemur linnet lynx marten mole moth newt otter owl panda petrel pony puffin quail
    raven robin seal shrew stork swan tern thrush toad vole wren
""".split()  # noqa: SIM905
TRIES = 100


def name_for(what: str, taken: Container[str | None]) -> str:
    """`what` with two words behind it that nobody has yet; with a number where all of TRIES were taken."""
    for _ in range(TRIES):
        name = f"{what}-{secrets.choice(HOW)}-{secrets.choice(WHO)}"
        if name not in taken:
            return name
    return f"{name}-{secrets.token_hex(3)}"
