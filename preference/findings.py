"""Secrets and personal data in a text, by kind: what nobody wants a model to learn by heart.

Secrets are found by detect-secrets' detectors of known formats; its guesses by entropy or keyword are left out,
since prose sets them off. Telephone numbers are checked by phonenumbers, card numbers and IBANs by their check
digits. Found texts are never kept or shown, only kinds and places.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import phonenumbers
from stdnum import iban, luhn

SECRET_DETECTORS = (
    "AWSKeyDetector", "AzureStorageKeyDetector", "BasicAuthDetector", "DiscordBotTokenDetector",
    "GitHubTokenDetector", "GitLabTokenDetector", "JwtTokenDetector", "MailchimpDetector", "NpmDetector",
    "OpenAIDetector", "PrivateKeyDetector", "PypiTokenDetector", "SendGridDetector", "SlackDetector",
    "SquareOAuthDetector", "StripeDetector", "TelegramBotTokenDetector", "TwilioKeyDetector",
)  # fmt: skip
# Each pattern starts with plain characters and looks back after them: `re` finds such starts ten times faster.
LACKING = {  # what detect-secrets 1.5 does not know
    "Fireworks API key": re.compile(r"fw(?<!\w..)[_-][A-Za-z0-9]{20,}\b"),
    "Anthropic API key": re.compile(r"sk-ant-[A-Za-z0-9_-]{20,}"),
    "OpenAI API key": re.compile(r"sk-(?:proj|svcacct|admin)-[A-Za-z0-9_-]{20,}"),
    "Hugging Face token": re.compile(r"hf_(?<!\w...)[A-Za-z0-9]{30,}\b"),
    "Google API key": re.compile(r"AIza(?<!\w....)[A-Za-z0-9_-]{35}\b"),
}
_EMAIL = re.compile(r"\b[A-Za-z0-9._%+-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}\b")
_EXAMPLE_DOMAIN = re.compile(r"@(?:[\w-]+\.)*(?:example|test|invalid|localhost)(?:\.(?:com|org|net))?$", re.I)
_PHONES = (  # with a country code, or as North America writes them; bare digits are mostly just numbers
    re.compile(r"\+(?<![\w.+].)\d[\d ()-]{7,17}\d(?![\w.-]?\d)"),
    re.compile(r"\(\d{3}\) ?\d{3}[- ]\d{4}(?![\w.-]?\d)"),
    re.compile(r"\d(?<![\w.+-].)\d\d-\d{3}-\d{4}(?![\w.-]?\d)"),
)
_CARDS = (
    re.compile(r"[2-6](?<![\d.].)\d{3}(?:[ -]?\d{4}){3}(?![.,]?\d)"),
    re.compile(r"3(?<![\d.].)[47]\d{2}[ -]?\d{6}[ -]?\d{5}(?![.,]?\d)"),  # American Express
)
_IBAN = re.compile(r"[A-Z](?<!\w.)[A-Z]\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?\b")
_SECRET_WORD_CHARS = 20  # every secret here has a word so long, but for the two kinds below


def find(text: str) -> set[str]:
    """Kinds of secrets and personal data in the text."""
    return {*_secrets(text), *_personal(text)}


def secrets(text: str) -> set[str]:
    """Kinds of secrets alone."""
    return set(_secrets(text))


def _secrets(text: str) -> Iterator[str]:
    text = "\n".join(line for line in text.split("\n") if _may_hold_secret(line))
    if not text:
        return
    for detector in _detectors():
        if next(iter(detector.analyze_string(text)), None):
            yield detector.secret_type
    for kind, pattern in LACKING.items():
        if pattern.search(text):
            yield kind


def _may_hold_secret(line: str) -> bool:
    if "://" in line or "PRIVATE KEY" in line:
        return True
    return len(line) >= _SECRET_WORD_CHARS and max(map(len, line.split()), default=0) >= _SECRET_WORD_CHARS


@cache
def _detectors() -> list[Any]:
    from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class  # 0.3 s

    by_name = {plugin.__name__: plugin for plugin in get_mapping_from_secret_type_to_class().values()}
    return [by_name[name]() for name in SECRET_DETECTORS]


def _personal(text: str) -> Iterator[str]:
    if "@" in text and any(not _EXAMPLE_DOMAIN.search(found[0]) for found in _EMAIL.finditer(text)):
        yield "Email address"
    if any(_is_phone(found[0]) for pattern in _PHONES for found in pattern.finditer(text)):
        yield "Telephone number"
    if any(luhn.is_valid(re.sub("[ -]", "", found[0])) for pattern in _CARDS for found in pattern.finditer(text)):
        yield "Payment card number"
    if any(iban.is_valid(found[0]) for found in _IBAN.finditer(text)):
        yield "IBAN"


def _is_phone(text: str) -> bool:
    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(text, "US"))
    except phonenumbers.NumberParseException:
        return False
