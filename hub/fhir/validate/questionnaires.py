"""QuestionnaireResponses against their Questionnaire (R4 QuestionnaireResponse 2.52)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from hub.errors import HubError
from hub.fhir.paths.operators import order, same
from hub.fhir.paths.scope import system
from hub.fhir.paths.values import Node
from hub.fhir.validate import answers, parts
from hub.fhir.validate.codes import Codes
from hub.fhir.validate.profiles import Library
from hub.fhir.validate.report import Place, Report, Visit

Json = dict[str, Any]
Items = list[tuple[Place, Json]]

# Questionnaire.item.type -> members that an answer of it may have.
ANSWERS = {
    "boolean": ("valueBoolean",),
    "decimal": ("valueDecimal", "valueInteger"),
    "integer": ("valueInteger",),
    "date": ("valueDate",),
    "dateTime": ("valueDateTime",),
    "time": ("valueTime",),
    "string": ("valueString",),
    "text": ("valueString",),
    "url": ("valueUri",),
    "choice": ("valueCoding", "valueString", "valueInteger", "valueDate", "valueTime", "valueReference"),
    "open-choice": ("valueCoding", "valueString", "valueInteger", "valueDate", "valueTime", "valueReference"),
    "attachment": ("valueAttachment",),
    "reference": ("valueReference",),
    "quantity": ("valueQuantity",),
}
_FINISHED = frozenset({"completed", "amended"})


def check(visit: Visit, report: Report, library: Library, codes: Codes | None, strict: bool) -> None:
    """A QuestionnaireResponse, when its Questionnaire is contained or loaded; ``strict``: texts are to be the same."""
    response = visit.value
    canonical = response.get("questionnaire")
    if not isinstance(canonical, str):
        return
    questionnaire = _find(canonical, response, library)
    if questionnaire is None:
        report.add("questionnaire-unknown", (visit.place, "questionnaire"), url=canonical)
        return
    finished = parts.string(response, "status") in _FINISHED
    answered = _answers(response)
    run = _Run(report, codes, finished, strict, answered)
    run.items(parts.objects(questionnaire, "item"), _items(response, visit.place), visit.place)


def define(visit: Visit, report: Report) -> None:
    """A Questionnaire: what enableWhen asks about is there, and options and initial values fit the type of the item."""
    rows = list(_below(visit.value, visit.place))
    known = {parts.string(item, "linkId") for _, item in rows}
    for place, item in rows:
        for index, condition in parts.numbered(item, "enableWhen"):
            question = parts.string(condition, "question")
            if question and question not in known:
                report.add("question-unknown", (((place, "enableWhen"), index), "question"), value=question)
        kind = parts.string(item, "type")
        for name in ("answerOption", "initial") if kind in ANSWERS else ():
            for index, one in parts.numbered(item, name):
                member = next((name for name in one if name.startswith("value")), None)
                if member is not None and member not in ANSWERS[kind]:
                    facts: Json = {"value": item.get("linkId"), "type": kind, "found": member}
                    report.add("item-answer", ((place, name), index), **facts, expected=" / ".join(ANSWERS[kind]))


def _below(owner: Json, place: Place) -> Iterator[tuple[Place, Json]]:
    """Every item, whatever its depth."""
    for at, item in _items(owner, place):
        yield at, item
        yield from _below(item, at)


def _find(canonical: str, response: Json, library: Library) -> Json | None:
    if canonical.startswith("#"):
        for one in parts.objects(response, "contained"):
            if one.get("id") == canonical[1:]:
                return one
        return None
    return library.questionnaire(canonical)


def _items(owner: Json, place: Place) -> Items:
    return [(((place, "item"), index), item) for index, item in parts.numbered(owner, "item")]


def _answers(response: Json) -> dict[str, list[Json]]:
    """linkId -> all answers given anywhere."""
    found: dict[str, list[Json]] = {}
    stack = [response]
    while stack:
        one = stack.pop()
        for _, item in _items(one, (None, "")):
            answers = parts.objects(item, "answer")
            found.setdefault(parts.string(item, "linkId"), []).extend(answers)
            stack += [item, *answers]
    return found


@dataclass(slots=True)
class _Run:
    """One response; ``answered`` holds every answer by linkId, for enableWhen."""

    report: Report
    codes: Codes | None
    finished: bool
    strict: bool
    answered: dict[str, list[Json]]

    def items(self, definitions: list[Json], given: Items, place: Place, enabled: bool = True) -> None:
        """The items of one level: known, in order, as often as allowed, answered when required."""
        known = {parts.string(item, "linkId"): index for index, item in enumerate(definitions)}
        last = -1
        for at, item in given:
            index = known.get(parts.string(item, "linkId"))
            if index is None:
                self.report.add("item-unknown", (at, "linkId"), value=item.get("linkId"))
            elif index < last:
                self.report.add("item-order", at, value=item.get("linkId"))
            else:
                last = index
        for definition in definitions:
            matching = [(at, item) for at, item in given if item.get("linkId") == definition.get("linkId")]
            self.item(definition, matching, place, enabled)

    def item(self, definition: Json, given: Items, place: Place, enabled: bool) -> None:
        """All items of one definition; what is below an item that is not enabled is not enabled either."""
        link, kind = definition.get("linkId"), definition.get("type")
        enabled = enabled and self.enabled(definition)
        found = [answer for _, item in given for answer in parts.objects(item, "answer")]
        if not enabled and found:
            self.report.add("item-disabled", given[0][0], value=link)
        required = definition.get("required") is True and enabled and self.finished and kind != "display"
        if required and (not given or (kind != "group" and not found)):
            self.report.add("item-required", place, value=link)
        number = len(given) if kind == "group" else max(len(given), len(found))
        if definition.get("repeats") is not True and number > 1:
            self.report.add("item-repeats", given[0][0], value=link)
        elif given:
            answers.count(definition, number, given[0][0], self.report)
        for at, item in given:
            self.text(definition, item, at)
            self.answers(definition, item, at, enabled)
            if kind == "group" or "answer" not in item:
                self.items(parts.objects(definition, "item"), _items(item, at), at, enabled)

    def text(self, definition: Json, item: Json, place: Place) -> None:
        """The text of an item is that of the Questionnaire, unless it is in another language."""
        said, meant = parts.string(item, "text"), parts.string(definition, "text")
        if said and meant and said != meant and "_text" not in definition:
            facts: Json = {"value": item.get("linkId"), "expected": meant[:80]}
            self.report.add("item-text", (place, "text"), severity="error" if self.strict else "", **facts)

    def answers(self, definition: Json, item: Json, place: Place, enabled: bool) -> None:
        """The answers of one item, and the items below each."""
        kind = str(definition.get("type"))
        allowed = ANSWERS.get(kind, ())
        for index, answer in parts.numbered(item, "answer"):
            at = ((place, "answer"), index)
            member = next((name for name in answer if name.startswith("value")), None)
            if member is not None and member not in allowed:
                expected = " / ".join(allowed) or "-"
                link = definition.get("linkId")
                self.report.add("item-answer", at, value=link, type=kind, found=member, expected=expected)
            elif member is not None:
                self.option(definition, member, answer[member], at)
                answers.value(definition, member, answer[member], at, self.report)
            self.items(parts.objects(definition, "item"), _items(answer, at), at, enabled)

    def option(self, definition: Json, member: str, value: Any, place: Place) -> None:
        """The answer to a choice is an option, or in the value set."""
        link, kind = definition.get("linkId"), definition.get("type")
        if kind == "open-choice" and member == "valueString":
            return
        options = parts.objects(definition, "answerOption")
        if options and not any(_chosen(option.get(member), value) for option in options):
            self.report.add("item-option", place, value=link)
        value_set = definition.get("answerValueSet")
        if isinstance(value_set, str) and self.codes is not None and member == "valueCoding":
            answer = self.codes.validate_code(value_set, parts.string(value, "system"), parts.string(value, "code"))
            if answer is False:
                self.report.add("item-option", place, value=link)

    def enabled(self, definition: Json) -> bool:
        """enableWhen and enableBehavior."""
        conditions = parts.objects(definition, "enableWhen")
        if not conditions:
            return True
        results = [self.holds(condition) for condition in conditions]
        return any(results) if definition.get("enableBehavior") == "any" else all(results)

    def holds(self, condition: Json) -> bool:
        """One enableWhen condition."""
        answers = self.answered.get(str(condition.get("question")), [])
        member = next((name for name in condition if name.startswith("answer")), "")
        wanted = condition.get(member)
        operator = condition.get("operator")
        values = [value for answer in answers for name, value in answer.items() if name.startswith("value")]
        if operator == "exists":
            return bool(values) is bool(wanted)
        model = member.removeprefix("answer")
        model = model if isinstance(wanted, dict) else model[:1].lower() + model[1:]
        return any(_compare(str(operator), value, wanted, model) for value in values)


def _chosen(option: Any, value: Any) -> bool:
    if isinstance(option, dict) and isinstance(value, dict):
        return option.get("code") == value.get("code") and option.get("system") == value.get("system")
    return option is not None and bool(option == value)


_ORDERS: dict[str, Callable[[int], bool]] = {
    ">": lambda found: found > 0,
    "<": lambda found: found < 0,
    ">=": lambda found: found >= 0,
    "<=": lambda found: found <= 0,
}


def _compare(operator: str, value: Any, wanted: Any, model: str) -> bool:
    left, right = Node(value, model), Node(wanted, model)
    if operator in ("=", "!="):
        equal = _chosen(value, wanted) if model == "Coding" else same(left, right) is True
        return equal is (operator == "=")
    try:
        found = order(system(left), system(right))
    except HubError:
        return False
    return found is not None and operator in _ORDERS and _ORDERS[operator](found)
