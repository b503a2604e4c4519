"""Known formats are found, and ordinary text is left alone. No key here is a real one."""

import pytest

from preference.findings import SECRET_DETECTORS, _detectors, find

FOUND = {
    "AKIA" + "QYLPMN5HHHFPZAM2": "AWS Access Key",
    "ghp_" + "wWPw5k4aXcaT4fNP0UcnZwJUVFk6LO0pINUx": "GitHub Token",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIEow": "Private Key",
    "postgres://user:hunter2@db/x": "Basic Auth Credentials",
    "https://a:b@c": "Basic Auth Credentials",
    "sk_live_" + "ReTllpYQYfIZu2Jnf2lAPFjD": "Stripe Access Key",
    "my key is fw_" + "3ZnbYh2aBcDeFgHiJkLmNoPq": "Fireworks API key",
    "sk-ant-" + "api03-abcdefghijklmnopqrstuvwxyz": "Anthropic API key",
    "sk-proj-" + "abcdefghijklmnopqrstuvwxyz0123": "OpenAI API key",
    "hf_" + "abcdefghijklmnopqrstuvwxyzABCDEFGH": "Hugging Face token",
    "AIza" + "SyA1234567890abcdefghijklmnopqrstuv": "Google API key",
    "write to jane.doe@acme.co.uk, please": "Email address",
    "call +44 20 7946 0958": "Telephone number",
    "call (212) 736-5000 now": "Telephone number",
    "call 212-736-5000.": "Telephone number",
    "card 4111 1111 1111 1111": "Payment card number",
    "card 378282246310005": "Payment card number",
    "IBAN DE89 3704 0044 0532 0130 00": "IBAN",
}
NOT_FOUND = (
    "The sky is blue, since short waves scatter more than long ones do.",
    "1234567890 and 3.14159265358979 and 5637.5 - 4995.2 = 642.3 and +22.360679775",
    "card 4111 1111 1111 1112",  # its check digit is wrong
    "IBAN DE00 3704 0044 0532 0130 00",
    "jane@example.com and test@localhost.test",
    "Call 555-1234 in 2024-01-02, ISBN 978-3-16-148410-0",
    "https://host/path?user:name@x and file://a/b",
    "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft",
    "sha256 4355a46b19d348dc2f57c046f8ef63d4538ebb936000f3c9ee954a27460dd865",
    "hf_model_for_sequence_classification_v2 and fw_config",
)


@pytest.mark.parametrize(("text", "kind"), FOUND.items(), ids=range(len(FOUND)))
def test_a_known_format_is_found_on_its_line(text, kind):
    assert find(f"Some words before.\n{text}\nand after") == {kind}


@pytest.mark.parametrize("text", NOT_FOUND)
def test_ordinary_text_is_left_alone(text):
    assert find(text) == set()


def test_every_detector_that_is_named_is_there():
    assert [type(detector).__name__ for detector in _detectors()] == list(SECRET_DETECTORS)
