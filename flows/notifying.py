"""Prefect automations that tell somebody when a run waits: a block that holds the address, and what sets it off.

They go by our own events (tasks/announcing.py), which know the gate and the money; a run whose process died says
nothing any more, so that Prefect's own word counts there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import quote, urlencode

from apprise import Apprise
from prefect.blocks.core import Block
from prefect.blocks.notifications import SlackWebhook
from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import SyncPrefectClient
from prefect.events.actions import CallWebhook, SendNotification
from prefect.events.schemas.automations import Automation, AutomationCore, EventTrigger, Posture
from prefect.exceptions import ObjectNotFound
from pydantic import SecretStr

from tasks.announcing import TAG, EventName

PREFIX = "prefworks-notify-"  # of the automations and of their blocks
CRASHED = "prefect.flow-run.Crashed"
_SLACK = re.compile(r"https://hooks\.slack(-gov)?\.com/services/\S+")
_SAID = "event.payload.text or 'The process of run ' ~ flow_run.name ~ ' died.'"
SUBJECT = "{{ " + _SAID + " }}"
BODY = (
    "{{ " + _SAID + " }}\n"
    "{% if event.payload.asked_usd is number %}Asked for: at most {{ event.payload.asked_usd|round(2) }} USD.\n"
    "{% endif %}{{ event.payload.spent or '' }}\n"
    "{{ flow_run.name }}: {{ flow_run|ui_url }}"
)
PAYLOAD = (
    '{"event": {{ event.event|tojson }}, "text": {{ (' + _SAID + ")|tojson }}, "
    '"run": {{ (flow_run.name or "")|tojson }}, "url": {{ (flow_run|ui_url or "")|tojson }}, '
    '"facts": {{ event.payload|tojson }}}'
)


class CannotNotify(ValueError):
    """The address cannot be used, or there is no such notification; the message says why."""


@dataclass(frozen=True)
class Mail:
    """How a mail server is spoken to. security: starttls, ssl or insecure."""

    to: str
    sender: str
    host: str
    port: int = 587
    user: str = ""
    password: str = ""
    security: str = "starttls"

    def url(self) -> SecretStr:
        """As Apprise writes it, which Prefect's notification blocks send with."""
        login = f"{quote(self.user, safe='')}:{quote(self.password, safe='')}@" if self.user else ""
        query = urlencode({"from": self.sender, "to": self.to, "smtp": self.host, "mode": self.security})
        return SecretStr(f"mailto://{login}{self.host}:{self.port}?{query}")


def webhook(url: str) -> Webhook:
    """Anything that takes a POST with JSON. Raises CannotNotify."""
    if not re.fullmatch(r"https?://\S+", url):
        raise CannotNotify("a webhook's address begins with https:// (or http://, on your own network)")
    return Webhook(url=SecretStr(url), headers={"Content-Type": "application/json"})


def slack(url: str) -> SlackWebhook:
    """A channel's incoming webhook. Raises CannotNotify."""
    if not _SLACK.fullmatch(url):
        raise CannotNotify("an incoming webhook of Slack is wanted: https://hooks.slack.com/services/...")
    return SlackWebhook(url=SecretStr(url))


def mail(to: Mail) -> SlackWebhook:
    """Any mail server. Prefect's own server has no block for one (its SendGrid block aside), but its Slack block hands
    every address that is not Slack's to Apprise, which can send mail: so no code of ours has to be on that server.
    Raises CannotNotify.
    """
    if Apprise.instantiate(to.url().get_secret_value()) is None:
        raise CannotNotify(f"mail cannot be sent from {to.sender} to {to.to} through {to.host}: look at the addresses")
    return SlackWebhook(url=to.url())


def notify(client: SyncPrefectClient, name: str, block: Block, *, also_ends: bool) -> Automation:
    """Make the notification, or make it anew under its name: the block is saved, and one automation uses it."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,39}", name):
        raise CannotNotify(f"{name!r} is not a name: 1 to 40 of a-z 0-9 - are wanted, such as my-team")
    block_id = block.save(f"{PREFIX}{name}", overwrite=True)
    core = AutomationCore(
        name=f"{PREFIX}{name}",
        description="Made by `prefworks notify`: a preference-learning run waits"
        + (" or has ended." if also_ends else "."),
        trigger=EventTrigger(
            expect={EventName.GATE_WAITING.value} | ({EventName.RUN_ENDED.value, CRASHED} if also_ends else set()),
            match={"prefect.resource.id": "prefect.flow-run.*"},
            match_related={"prefect.resource.role": "tag", "prefect.resource.id": TAG},
            posture=Posture.Reactive,
            threshold=1,
            within=timedelta(0),
        ),
        actions=[
            CallWebhook(block_document_id=block_id, payload=PAYLOAD)
            if isinstance(block, Webhook)
            else SendNotification(block_document_id=block_id, subject=SUBJECT, body=BODY)
        ],
    )
    there = client.read_automations_by_name(core.name)
    if there:
        client.update_automation(there[0].id, core)
    else:
        client.create_automation(core)
    return client.read_automations_by_name(core.name)[0]


def notifications(client: SyncPrefectClient) -> list[Automation]:
    """Those that `notify` made, by name."""
    return sorted((a for a in client.read_automations() if a.name.startswith(PREFIX)), key=lambda a: a.name)


def remove(client: SyncPrefectClient, name: str) -> None:
    """Take the automations of that name away, and the block with the address. Raises CannotNotify."""
    found = client.read_automations_by_name(f"{PREFIX}{name}")
    for automation in found:
        client.delete_automation(automation.id)
    n_blocks = sum(_delete_block(client, slug, f"{PREFIX}{name}") for slug in ("webhook", "slack-webhook"))
    if not found and not n_blocks:
        there = ", ".join(a.name.removeprefix(PREFIX) for a in notifications(client))
        raise CannotNotify(f"there is no notification {name!r}; there are: {there or 'none'}")


def _delete_block(client: SyncPrefectClient, slug: str, name: str) -> bool:
    try:
        client.delete_block_document(client.read_block_document_by_name(name, slug).id)
    except ObjectNotFound:
        return False
    return True
