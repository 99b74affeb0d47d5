"""From the faces of a study to what the endpoint answers with now."""

import os

from visage.client import Client, ClientError
from visage.errors import UserError
from visage.registry.models import CHAMPION, NoSuchModel, Registry
from visage.registry.reading import Reader
from visage.registry.store import database_of
from visage.search.study.summary import Summary
from visage.search.watch.schema import Lineage, Station

ENDPOINT = "VISAGE_ENDPOINT"  # where the endpoint is, if not on this machine
PAGES = "VISAGE_MLFLOW_PAGES"  # where a browser finds MLflow's pages, if not where its store is
LOCAL = "http://127.0.0.1:8000"
ENDPOINT_SECONDS = 2.0


def lineage(summary: Summary, reader: Reader, method: str) -> Lineage:
    """The stations of a study's model, each with what is known of it, the endpoint asked now. method: of the study."""
    return Lineage(stations=[_faces(summary, reader), _run(summary, reader), *_versions(summary, method)])


def _faces(summary: Summary, reader: Reader) -> Station:
    run = reader.run(summary.run_id)
    if run is None or not run.data[1]:
        return Station(what="faces", name="not noted", detail="This study's run names no face set.", link="")
    name, digest = run.data
    counted = {"people": "people", "num_rows": "pictures", "pixels": "pixels a side"}
    counts = ", ".join(f"{run.counts[key]} {word}" for key, word in counted.items() if key in run.counts)
    return Station(what="faces", name=name, detail=f"{counts}; sha256 {digest}", link="")


def _run(summary: Summary, reader: Reader) -> Station:
    outcome, best = summary.outcome, summary.best
    if not outcome and best is None:
        return Station(what="run", name="none yet", detail="No trial is complete.", link="")
    run_id = outcome["run_id"] if outcome else best.run_id if best else ""
    number = outcome["trial"] if outcome else best.number if best else ""
    found = reader.run(run_id) if run_id else None
    final = found is not None and found.tags.get("visage.kind") == "final"
    detail = f"{'the final training of trial' if final else 'trial'} {number}; run {run_id or 'not told to MLflow yet'}"
    base = os.environ.get(PAGES, "" if database_of(reader.uri) else reader.uri)
    link = f"{base}{found.page}" if found and base else ""
    return Station(what="run", name=found.name if found else f"trial {number}", detail=detail, link=link)


def _versions(summary: Summary, method: str) -> list[Station]:
    """The version of this study, the champion, and what answers."""
    outcome = summary.outcome
    own = str(outcome["model"]) if outcome else ""
    if own:
        version = Station(what="version", name=own, detail=f"the gate's verdict: {outcome['decision']}", link="")
    else:
        version = Station(what="version", name="none yet", detail="The study's model is not registered.", link="")
    name = own.partition("/")[0] or f"visage-{method}"
    try:
        facts = Registry(summary.registry).find(f"{name}@{CHAMPION}")
        champion = facts.label
        detail = "this study's" if champion == own else f"not this study's; from run {facts.run_id}"
    except NoSuchModel:
        champion, detail = "none yet", f"{name} has no champion"
    return [version, Station(what="champion now", name=champion, detail=detail, link=""), _answering(champion, own)]


def _answering(champion: str, own: str) -> Station:
    url = os.environ.get(ENDPOINT, LOCAL)
    try:
        with Client(url, timeout=ENDPOINT_SECONDS, patience=0) as client:
            found = client.model()
    except (ClientError, UserError) as error:
        return Station(what="what the endpoint answers with", name="not known", detail=str(error), link="")
    answers = f"{found.name}/{found.version}" if found.version else found.name
    detail = "this study's model" if answers == own else "the champion" if answers == champion else "another model"
    since = f", since {found.loaded_at}" if found.loaded_at else ""
    return Station(what="what the endpoint answers with", name=answers, detail=f"{detail}{since}", link=url)
