"""`prefworks notify` on Prefect's own server: what is made there, made again, listed and removed."""

from __future__ import annotations

import json

import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.events.schemas.automations import AutomationCore
from prefect.settings import PREFECT_API_URL
from prefect.types import SecretDict

from flows.notifying import CannotNotify, Mail, mail, notifications, slack, webhook
from tasks.announcing import EventName
from tests.flows.conftest import ROOT, shell

pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")  # apprise's
HOOK = "https://example.com/hook?token=s3cret"


@pytest.fixture
def notify(prefect, monkeypatch):
    """notify("webhook", ...) is `prefworks notify webhook ...`; what it made is removed at the end."""
    monkeypatch.setenv("PREFECT_API_URL", PREFECT_API_URL.value())
    monkeypatch.setenv("PREFWORKS_NOTIFY_URL", HOOK)
    yield lambda *args, **more: shell("notify", *args, **more)
    with get_client(sync_client=True) as client:
        for automation in notifications(client):
            client.delete_automation(automation.id)


def test_the_same_name_again_changes_the_one_there_is_and_the_address_shows_nowhere(notify):
    assert notify("webhook", "--name", "team").exit_code == 0
    result = notify("webhook", "--name", "team", "--ends")
    assert "waits, has ended, or lost its process" in result.output
    with get_client(sync_client=True) as client:
        [made] = notifications(client)
        block = client.read_block_document_by_name("prefworks-notify-team", "webhook", include_secrets=False)
        shown = client.read_block_document_by_name("prefworks-notify-team", "webhook", include_secrets=True)
    assert made.trigger.expect == {"prefworks.gate.waiting", "prefworks.run.ended", "prefect.flow-run.Crashed"}
    assert made.actions[0].block_document_id == block.id
    assert "s3cret" not in result.output + made.model_dump_json() + block.model_dump_json()
    assert shown.data["url"] == HOOK


def test_what_there_is_is_listed_and_removed_with_its_address(notify):
    notify("webhook", "--name", "team")
    mailed = notify("email", "--to", "ada@example.com", "--host", "smtp.example.com")
    assert mailed.exit_code == 0, mailed.output
    listed = json.loads(notify("list", "--json").stdout)
    assert [(one["name"], one["does"]) for one in listed] == [("email", "send-notification"), ("team", "call-webhook")]
    assert notify("remove", "team").exit_code == 0
    again = notify("remove", "team")
    assert again.exit_code == 2
    assert "there is no notification 'team'; there are: email" in again.stderr
    assert [one["name"] for one in json.loads(notify("list", "--json").stdout)] == ["email"]


def test_an_address_that_is_not_given_is_asked_for_and_one_that_is_none_is_refused(notify, monkeypatch):
    monkeypatch.delenv("PREFWORKS_NOTIFY_URL")
    result = notify("slack", input="https://example.com/hook\n")
    assert result.exit_code == 2
    assert "https://hooks.slack.com/services/" in result.stderr
    assert "example.com" not in result.output


def test_addresses_are_checked_before_anything_is_saved():
    with pytest.raises(CannotNotify, match="begins with https"):
        webhook("ftp://example.com")
    assert slack("https://hooks.slack.com/services/T0/B0/x").url.get_secret_value().endswith("/x")
    with pytest.raises(CannotNotify, match="nobody@"):
        mail(Mail("nobody@", "nobody@", "smtp.example.com"))
    assert webhook(HOOK).headers == SecretDict({"Content-Type": "application/json"})


def test_a_mail_s_password_may_hold_any_sign():
    told = Mail("ada@example.com", "runs@example.com", "smtp.example.com", user="ada@example.com", password="p@s/:?")
    assert told.url().get_secret_value() == (
        "mailto://ada%40example.com:p%40s%2F%3A%3F@smtp.example.com:587"
        "?from=runs%40example.com&to=ada%40example.com&smtp=smtp.example.com&mode=starttls"
    )


def test_the_example_of_an_automation_is_one():
    found = AutomationCore.model_validate(yaml.safe_load((ROOT / "examples/automations/waiting.yaml").read_text()))
    assert found.trigger.expect == {EventName.GATE_WAITING}
    assert "event.payload.text" in found.actions[0].payload
