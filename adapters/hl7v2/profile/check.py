"""A message against a conformance profile: usage, cardinality, length, format, value sets, predicates, constraints.

The findings follow NIST's classes: usage and cardinality are errors, length a warning, a constraint what the profile
says; what this hub cannot evaluate (a Java plug-in) is told as a fault of the profile, never taken as failed.
"""

from __future__ import annotations

from adapters.hl7v2.findings import finding
from adapters.hl7v2.message import NULL, Message
from adapters.hl7v2.plan import FORMATS
from adapters.hl7v2.profile.coconstraints import breaches
from adapters.hl7v2.profile.expressions import evaluate
from adapters.hl7v2.profile.records import Binding, Group, Item, Profile, Rule
from adapters.hl7v2.profile.tree import Builder, Node
from adapters.hl7v2.profile.valuesets import Sets
from hub.services.check import Finding

MAX_FINDINGS = 1000


def check(message: Message, profile: Profile) -> list[Finding]:
    """Every finding of a message against a profile, and last what the profile itself leaves open."""
    if message.kind != profile.kind:
        return [finding("profile-other", "MSH[1]-9", 1, value=message.kind, expected=profile.kind)]
    return _Check(message, profile).run()


class _Check:
    def __init__(self, message: Message, profile: Profile) -> None:
        self._message = message
        self._profile = profile
        self._sets = Sets(profile)
        self._builder = Builder(message, profile, lambda test, node: evaluate(test, node, self._sets.member))
        self._found: list[Finding] = []

    def run(self) -> list[Finding]:
        root, outside = self._builder.build()
        for segment in outside:
            where = Node(self._message, None, self._message.position(segment), segment.name, segment)
            self._tell("profile-unexpected", where)
        self._holder(root)
        for breach in breaches(self._profile, root, self._sets):
            self._tell("profile-coconstraint", breach.node, detail=breach.detail)
        for fault in self._profile.faults:
            self._found.append(finding("profile-fault", detail=fault))
        return self._found[:MAX_FINDINGS]

    def _tell(
        self,
        rule: str,
        node: Node,
        *,
        expected: str = "",
        detail: str = "",
        severity: str = "",
    ) -> None:
        place = self._message.place(node.segment, *node.place) if node.segment is not None else None
        line, column, offset = place if place else (None, None, None)
        self._found.append(
            finding(
                rule, node.at, line, column, offset=offset, value=node.text,
                expected=expected, detail=detail, severity=severity,
            )
        )  # fmt: skip

    # --- one node and what it holds

    def _holder(self, node: Node) -> None:
        group = node.holder
        if group is not None and group.items and node.text != NULL:
            for position, item in enumerate(group.items, 1):
                if self._found and len(self._found) >= MAX_FINDINGS:
                    return
                instances = node.children.get(position, [])
                self._usage(node, position, item, instances)
                for one in instances:
                    self._holder(one)
        if node.unresolved:
            at, place = f"{node.at}-{node.unresolved}", (node.unresolved, 1)
            text = node.segment.field(node.unresolved) if node.segment else ""
            self._tell("profile-dynamic", Node(self._message, None, at, text, node.segment, place))
        if node.extra:
            at = f"{node.at}{'.' if node.place else '-'}{node.extra}"
            self._tell("profile-extra", Node(self._message, None, at, "", node.segment, self._below(node, node.extra)))
        if node.level == "Datatype" and node.text != NULL:
            self._value(node)
        if group is not None:
            self._rules(node, group)

    def _usage(self, node: Node, position: int, item: Item, instances: list[Node]) -> None:
        missing = self._absent(node, position, item)
        if item.usage == "R" and not instances:
            self._tell("profile-required", missing, expected=item.name or missing.at)
        if item.usage == "X" and instances:
            self._tell("profile-forbidden", instances[0])
        if 0 < item.max < len(instances):
            self._tell("profile-cardinality", instances[item.max], expected=f"at most {item.max}")
        elif instances and len(instances) < item.min:
            self._tell("profile-cardinality", instances[-1], expected=f"at least {item.min}")

    def _absent(self, node: Node, position: int, item: Item) -> Node:
        """The place of an element that is not there."""
        if node.level in ("Message", "Group"):
            name = self._builder.name(item)
            return Node(self._message, None, name if node.level == "Message" else f"{node.at}.{name}", "", node.segment)
        at = f"{node.at}{'.' if node.place else '-'}{position}"
        return Node(self._message, None, at, "", node.segment, self._below(node, position))

    @staticmethod
    def _below(node: Node, position: int) -> tuple[int, ...]:
        return (*node.place, position) if node.place else (position, 1)

    def _value(self, node: Node) -> None:
        if node.children.get(1) == [node]:
            self._primitive(node)
        if node.item is not None and node.item.binding is not None:
            self._bound(node, node.item.binding)

    def _primitive(self, node: Node) -> None:
        delimiters, item, holder = self._message.delimiters, node.item, node.holder
        if holder is not None and not holder.opaque:
            form = FORMATS.get(holder.name)
            if form is not None and not form.match(node.value):
                self._tell("value-format", node, expected=holder.name)
            for delimiter in (delimiters.component, delimiters.subcomponent):
                if delimiter and delimiter in node.text and node.text.partition(delimiter)[2].strip(delimiter):
                    self._tell("separator-unescaped", node, expected=holder.name)
                    break
        size = len(node.value)
        if item is not None and 0 < item.max_length < size:
            self._tell("profile-length", node, expected=f"at most {item.max_length}")
        elif item is not None and size < item.min_length:
            self._tell("profile-length", node, expected=f"at least {item.min_length}")

    def _bound(self, node: Node, binding: Binding) -> None:
        for one in node.find(binding.target):
            miss = self._sets.miss(binding, one)
            if miss is not None:
                self._tell(miss.rule, miss.node, expected=miss.expected, severity=miss.severity)

    # --- rules and bindings of a level

    def _rules(self, node: Node, group: Group) -> None:
        for key in dict.fromkeys(((node.level, group.id), (node.level, group.name))):
            for rule in self._profile.rules.get(key, ()):
                self._rule(rule, node)
            for binding in self._profile.bindings.get(key, ()):
                self._bound(node, binding)

    def _rule(self, rule: Rule, node: Node) -> None:
        outcome = evaluate(rule.test, node, self._sets.member)
        if rule.true:
            self._predicate(rule, outcome, node)
        elif outcome is False:
            detail = f"{rule.id}: {rule.text}"
            self._tell("profile-constraint", self._target(rule, node), detail=detail, severity=rule.severity)

    def _predicate(self, rule: Rule, outcome: bool | None, node: Node) -> None:
        """Usage of the target, where what would hold it is there."""
        holder, _, last = rule.target.rpartition(".")
        if outcome is None or not node.find(holder or "."):
            return
        usage = rule.true if outcome else rule.false
        for one in node.find(holder or "."):
            present = one.find(last)
            if usage == "R" and not present:
                self._tell("profile-predicate", self._target(rule, node), detail=f"{rule.text}: R", expected="R")
            elif usage == "X" and present:
                self._tell("profile-predicate", present[0], detail=f"{rule.text}: X", expected="X")

    def _target(self, rule: Rule, node: Node) -> Node:
        """The place a rule speaks of: what is there, else the way to it."""
        target = rule.target
        if target == ".":
            paths = (one.get("Path") or one.get("Path1") or "" for one in rule.test.iter())
            target = next(filter(None, paths), ".")
        found = node.find(target)
        if found:
            return found[0]
        return Node(self._message, None, self._way(node, target), "", node.segment, node.place)

    def _way(self, node: Node, target: str) -> str:
        """The place of an absent element: groups and segments by name, fields and components by number."""
        numbers = [int(step.partition("[")[0]) for step in target.split(".") if step]
        at, group = node.at, node.holder if node.level in ("Message", "Group") else None
        while numbers and group is not None:
            item = group.items[numbers.pop(0) - 1] if numbers[0] <= len(group.items) else None
            if item is None:
                break
            at, group = f"{at}.{self._builder.name(item)}", item.group
        joint = "." if node.place else "-"
        return at + (joint + ".".join(map(str, numbers)) if numbers else "")
