"""The configuration: what is read, what is said of mistakes."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from broker.config import SECTIONS, Config, IdentityEntry, load, parse
from broker.config_faults import line_of
from broker.config_template import render
from broker.core.address import is_this_machine
from broker.core.identity import Identity, Role
from broker.core.ids import AgentId
from broker.errors import ConfigurationError

FOLDER = Path("/srv/dev")
AGENT = "spiffe://toolwarrant.dev/agent"

# Text of the file, with the whole message.
MISTAKES = {
    "not TOML": (
        "[limits]\nburst = many",
        "dev.toml:2: is not TOML: Invalid value; texts need quotes, lists need brackets",
    ),
    "set twice": (
        "[limits]\nburst = 1\nburst = 2",
        "dev.toml:3: is not TOML: Cannot overwrite a value; something is set twice: keep one",
    ),
    "a misspelt key": (
        "[limits]\n# why\n\nbrust = 3",
        "dev.toml:4: limits.brust: is not a setting; did you mean burst?",
    ),
    "a misspelt table": (
        "[log]\n[limts]\nburst = 3",
        "dev.toml:2: limts: is not a setting; did you mean limits?",
    ),
    "an unknown key": (
        "[metrics]\nxyz = 3",
        "dev.toml:2: metrics.xyz: is not a setting; there are listen",
    ),
    "a key of no table": (
        "xyz = 3",
        (
            "dev.toml:1: xyz: is not a setting; there are server, store, receipts, policy, "
            "bundles, sandbox, pool, egress, limits, ceilings, metrics, log, witnesses, secrets, "
            "identities"
        ),
    ),
    "a table that is a number": (
        "server = 3",
        "dev.toml:1: server: must be a table, not 3",
    ),
    "a name that the file has not": (
        "file = 'x'",
        "dev.toml:1: file: is not a table of this file: remove it",
    ),
    "a misspelt key of a witness": (
        "[witnesses.w]\nurl = 'https://w.test/'\nkay = 'x'",
        "dev.toml:1: witnesses.w.key: is missing: it has no default (1 more to mend after it)",
    ),
    "a witness without TLS": (
        "[witnesses.w]\nurl = 'http://w.test/'\nkey = 'x'",
        (
            'dev.toml:2: witnesses.w.url: must be a URL such as "https://witness.example/"; '
            "plain http only on this machine"
        ),
    ),
    "a witness without a port": (
        "[witnesses.w]\nurl = 'https://w.test:x'\nkey = 'x'",
        (
            'dev.toml:2: witnesses.w.url: must be a URL such as "https://witness.example/"; '
            "plain http only on this machine"
        ),
    ),
    "a witness with a password": (
        "[witnesses.w]\nurl = 'https://a:b@w.test/'\nkey = 'x'",
        (
            'dev.toml:2: witnesses.w.url: must be a URL such as "https://witness.example/"; '
            "plain http only on this machine"
        ),
    ),
    "a text for a number": (
        "[limits]\nburst = '3'",
        'dev.toml:2: limits.burst: must be a valid integer, not "3"',
    ),
    "a truth for a number": (
        "[limits]\nburst = true",
        "dev.toml:2: limits.burst: must be a valid integer, not true",
    ),
    "a fraction for a count": (
        "[limits]\nburst = 1.5",
        "dev.toml:2: limits.burst: must be a valid integer, not 1.5",
    ),
    "no number": (
        "[limits]\ncalls_per_second = nan",
        "dev.toml:2: limits.calls_per_second: must be a finite number, not NaN",
    ),
    "too little": (
        "[limits]\nburst = 0",
        "dev.toml:2: limits.burst: must be greater than or equal to 1, not 0",
    ),
    "too much": (
        "[sandbox]\nmax_running = 5000",
        "dev.toml:2: sandbox.max_running: must be less than or equal to 1024, not 5000",
    ),
    "policy asked where anybody may answer": (
        "[policy]\nengine = 'opa'\nopa_url = 'http://opa.example.org:8181'",
        (
            "dev.toml:1: policy: opa_url must be https:// to another machine: who stands between "
            "could allow every call"
        ),
    ),
    "an authority that vouches for nobody": (
        "[policy]\nengine = 'opa'\nopa_url = 'http://localhost:8181'\nopa_ca_file = 'ca.crt'",
        (
            "dev.toml:1: policy: opa_ca_file, opa_certificate and opa_private_key need an opa_url "
            "with https://"
        ),
    ),
    "half a pair": (
        "[policy]\nengine = 'opa'\nopa_url = 'https://o:8181'\nopa_certificate = 'a.crt'",
        "dev.toml:1: policy: opa_certificate and opa_private_key go together: name both",
    ),
    "a token for nobody": (
        "[policy]\nengine = 'opa'\nopa_token = 'file:token'",
        "dev.toml:1: policy: opa_token needs an opa_url",
    ),
    "a token in the open": (
        "[policy]\nengine = 'opa'\nopa_url = 'https://o:8181'\nopa_token = 'hunter2'",
        (
            'dev.toml:4: policy.opa_token: must be "file:PATH", "credential:NAME" (systemd) or '
            '"env:VARIABLE", such as "file:secrets/api_token"'
        ),
    ),
    "an OPA without a port": (
        "[policy]\nengine = 'opa'\nopa_url = 'https://opa.example.org'",
        (
            "dev.toml:1: policy: opa_url must have host and port alone, such as "
            '"https://opa.example.org:8181"'
        ),
    ),
    "an OPA with a password": (
        "[policy]\nengine = 'opa'\nopa_url = 'https://a:b@opa.example.org:8181'",
        (
            "dev.toml:1: policy: opa_url must have host and port alone, such as "
            '"https://opa.example.org:8181"'
        ),
    ),
    "an OPA below a path": (
        "[policy]\nengine = 'opa'\nopa_url = 'https://opa.example.org:8181/v1/data'",
        (
            "dev.toml:1: policy: opa_url must have host and port alone, such as "
            '"https://opa.example.org:8181"'
        ),
    ),
    "another engine": (
        "[policy]\nengine = 'rego'",
        "dev.toml:2: policy.engine: must be 'wasm' or 'opa', not \"rego\"",
    ),
    "an address without a port": (
        "[server]\nlisten = 'localhost'",
        'dev.toml:2: server.listen: must be "host:port", such as "127.0.0.1:7443"',
    ),
    "a port that is none": (
        "[metrics]\nlisten = 'localhost:70000'",
        'dev.toml:2: metrics.listen: must be "host:port", such as "127.0.0.1:7443"',
    ),
    "an empty path": (
        "[store]\npath = ''",
        'dev.toml:2: store.path: must be a path in quotes, such as "pki/server.crt"',
    ),
    "a key elsewhere": (
        "[receipts]\nkey = 'keys/receipt.key'",
        (
            'dev.toml:2: receipts.key: must be "file:" followed by a path, such as '
            '"file:keys/receipt.key"'
        ),
    ),
    "an Engine that is no URL": (
        "[sandbox]\ndocker_url = '/var/run/docker.sock'",
        (
            'dev.toml:2: sandbox.docker_url: must be a URL such as "unix:///var/run/docker.sock"; '
            "TLS and ssh are not supported: bring a remote Engine's socket here by a tunnel"
        ),
    ),
    "a runtime named twice": (
        '[sandbox]\nruntimes = ["runc", "runsc", "kata", "runc"]',
        "dev.toml:1: sandbox: runtimes must name each runtime once",
    ),
    "runtimes in another order": (
        '[sandbox]\nruntimes = ["runsc", "runc", "kata"]',
        "dev.toml:1: sandbox: runtimes must have runc, runsc, kata in this order",
    ),
    "a runtime taken out": (
        '[sandbox]\nruntimes = ["runc", "kata"]',
        "dev.toml:1: sandbox: runtimes must have runc, runsc, kata in this order",
    ),
    "users beyond an Engine's": (
        "[sandbox]\nfirst_uid = 2147480000",
        "dev.toml:1: sandbox: first_uid with uid_count must not go past 2147483647",
    ),
    "users of the system's": (
        "[sandbox]\nfirst_uid = 999",
        "dev.toml:2: sandbox.first_uid: must be greater than or equal to 1000, not 999",
    ),
    "settings of the other engine": (
        "[policy]\nopa_url = 'http://127.0.0.1:8181'",
        'dev.toml:1: policy: opa_url and opa_binary need engine = "opa"; leave them empty',
    ),
    "two OPAs": (
        "[policy]\nengine = 'opa'\nopa_url = 'http://127.0.0.1:8181'\nopa_binary = 'opa'",
        "dev.toml:1: policy: opa_binary must be empty where opa_url names a server",
    ),
    "an OPA that is no URL": (
        "[policy]\nengine = 'opa'\nopa_url = 'localhost'",
        'dev.toml:1: policy: opa_url must be a URL such as "http://127.0.0.1:8181"',
    ),
    "two sources of bundles": (
        "[bundles]\nfolder = 'b'\nurl = 'https://b.example/b.tar.gz'",
        "dev.toml:1: bundles: folder and url are two sources: leave one of them empty",
    ),
    "a source that is no URL": (
        "[bundles]\nurl = 'b.example/b.tar.gz'",
        (
            'dev.toml:2: bundles.url: must be a URL such as "https://policy.example.org/bundles/'
            'broker.tar.gz"'
        ),
    ),
    "a source with a password": (
        "[bundles]\nurl = 'https://me:secret@b.example/b.tar.gz'",
        (
            "dev.toml:2: bundles.url: must be without user, password and fragment: a token goes "
            "into token"
        ),
    ),
    "a bundle token for nobody": (
        "[bundles]\ntoken = 'file:t'",
        "dev.toml:1: bundles: token is for a url: name that, or leave token empty",
    ),
    "a token in the clear": (
        "[bundles]\nurl = 'http://b.example/b.tar.gz'\ntoken = 'file:t'",
        (
            "dev.toml:1: bundles: token would be sent in the clear: use a url that begins with "
            "https://"
        ),
    ),
    "an authority for nobody": (
        "[bundles]\nurl = 'http://b.example/b.tar.gz'\nca_file = 'ca.crt'",
        "dev.toml:1: bundles: ca_file is for a url that begins with https://",
    ),
    "refusing without a source": (
        "[bundles]\nrefuse_after_s = 3600",
        (
            "dev.toml:1: bundles: refuse_after_s needs folder or url: without one nothing could "
            "confirm a bundle"
        ),
    ),
    "stale between two looks": (
        "[bundles]\nfolder = 'b'\nstale_after_s = 40",
        (
            "dev.toml:1: bundles: stale_after_s must be more than interval_s and timeout_s "
            "together: one slow look would be an alarm"
        ),
    ),
    "refusing before the alarm": (
        "[bundles]\nfolder = 'b'\nrefuse_after_s = 899",
        (
            "dev.toml:1: bundles: refuse_after_s must be 0 or at least stale_after_s: the alarm "
            "comes first"
        ),
    ),
    "more held than open": (
        "[limits]\nopen_calls_per_agent = 8",
        "dev.toml:1: limits: held_calls_per_agent must not be above open_calls_per_agent",
    ),
    "an identity without roles": (
        f'[identities."{AGENT}"]\nowner = "x"',
        f"dev.toml:1: identities.{AGENT}.roles: is missing: it has no default",
    ),
    "an identity with no role": (
        f'[identities."{AGENT}"]\nroles = []',
        f"dev.toml:2: identities.{AGENT}.roles: must have at least 1 item, not 0",
    ),
    "another role": (
        f'[log]\n[identities."{AGENT}"]\nroles = ["king"]',
        (
            f"dev.toml:3: identities.{AGENT}.roles: must be 'agent', 'approver', 'auditor', "
            "'policy' or 'admin', not \"king\""
        ),
    ),
    "roles without brackets": (
        "[identities.x]\nroles = 'agent'",
        'dev.toml:2: identities.x.roles: must be a list in brackets, not "agent"',
    ),
    "an approver who is nobody": (
        "[identities.x]\nroles = ['approver']",
        "dev.toml:1: identities.x: person must say which human this approver is",
    ),
    "an end without a zone": (
        "[identities.x]\nroles = ['agent']\nexpires_at = 2027-01-01T00:00:00",
        ('dev.toml:3: identities.x.expires_at: must have timezone info, not "2027-01-01T00:00:00"'),
    ),
    "a nameless identity": (
        "[identities.'']\nroles = ['agent']",
        'dev.toml:1: identities.: must have at least 1 character, not ""',
    ),
    "a secret without a keeper": (
        "[secrets]\napi_token = 'abc'",
        (
            'dev.toml:2: secrets.api_token: must be "file:PATH", "credential:NAME" (systemd) or '
            '"env:VARIABLE", such as "file:secrets/api_token"'
        ),
    ),
    "a secret itself, which is not told": (
        "[secrets]\npin = 1234567890123",
        "dev.toml:2: secrets.pin: must be a valid string",
    ),
    "a credential elsewhere": (
        "[secrets]\na = 'credential:x'\nb = 'credential:..'",
        (
            'dev.toml:3: secrets.b: must be "file:PATH", "credential:NAME" (systemd) or '
            '"env:VARIABLE", such as "file:secrets/api_token"'
        ),
    ),
    "a secret that steers programs": (
        "[secrets]\nld_preload = 'env:X'",
        (
            "dev.toml:2: secrets.ld_preload: must be a-z, 0-9, _, beginning with a letter, and "
            "none that steers programs (path, home, lang, ld_..., python...)"
        ),
    ),
    "several at once": (
        "[limits]\nburst = 0\n[log]\nlevel = 'x'\n[server]\nlisten = ''",
        (
            "dev.toml:2: limits.burst: must be greater than or equal to 1, not 0 "
            "(2 more to mend after it)"
        ),
    ),
}


def read(text: str) -> Config:
    """Parse a text as the file dev.toml of the folder."""
    return parse(text, file="dev.toml", folder=FOLDER)


class TestMistakes:
    """What an operator is told."""

    @pytest.mark.parametrize(("text", "message"), MISTAKES.values(), ids=MISTAKES.keys())
    def test_a_mistake_is_named_with_line_and_remedy(self, text: str, message: str) -> None:
        """File, line, key, what is wrong, what would be right."""
        with pytest.raises(ConfigurationError) as caught:
            read(text)
        assert str(caught.value) == message

    def test_a_missing_file_names_the_remedy(self, tmp_path: Path) -> None:
        """Whoever has no configuration is told how to name or make one."""
        with pytest.raises(ConfigurationError, match="toolwarrant init DIR"):
            load(tmp_path / "toolwarrant.toml")

    def test_a_folder_is_no_file(self, tmp_path: Path) -> None:
        """What cannot be read is said with the system's reason."""
        with pytest.raises(ConfigurationError, match="cannot be read: Is a directory"):
            load(tmp_path)

    def test_another_encoding_is_named(self, tmp_path: Path) -> None:
        """A file that is not UTF-8 is refused with the place."""
        file = tmp_path / "toolwarrant.toml"
        file.write_bytes(b"# \xff")
        with pytest.raises(ConfigurationError, match="is not UTF-8 at byte 2"):
            load(file)


class TestReading:
    """What a right file means."""

    def test_an_empty_file_is_the_defaults(self) -> None:
        """Every table has defaults; nobody is anybody."""
        config = read("")
        assert config.server.listen == "127.0.0.1:7443"
        assert config.limits.calls_per_second == 20
        assert config.limits.burst == 50
        assert config.identities == {}

    def test_paths_start_from_the_files_folder(self) -> None:
        """Relative paths are made absolute by the folder; absolute ones stay; empty is none."""
        config = read("[store]\npath = '/var/lib/x.db'\n[receipts]\nkey = 'file:k'")
        assert config.server.certificate == FOLDER / "pki/server.crt"
        assert config.store.path == Path("/var/lib/x.db")
        assert config.receipts.key == "file:/srv/dev/k"
        assert config.policy.bundle is None
        assert config.file == FOLDER / "dev.toml"

    def test_paths_are_absolute_however_the_file_is_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A relative name of the file does not make relative paths."""
        (tmp_path / "dev.toml").write_text("")
        monkeypatch.chdir(tmp_path)
        assert load("dev.toml").store.path == tmp_path.resolve() / "toolwarrant.db"

    def test_an_identity_is_found_by_its_certificates_name(self) -> None:
        """A table of [identities] becomes the core's value."""
        config = read(
            f'[identities."{AGENT}"]\nperson = "p"\nowner = "o"\nroles = ["agent", "approver"]\n'
            'groups = ["g"]\nattributes = { b = "2", a = "1" }\n'
            "expires_at = 2027-01-31T00:00:00Z\ndaily_budget = 7\n"
        )
        entry = config.identities[AGENT]
        assert entry.identity(AGENT) == Identity(
            id=AgentId(AGENT),
            person="p",
            owner="o",
            roles=frozenset({Role.AGENT, Role.APPROVER}),
            groups=frozenset({"g"}),
            attributes=(("a", "1"), ("b", "2")),
            expires_at=datetime(2027, 1, 31, tzinfo=UTC),
        )
        assert entry.daily_budget == 7

    def test_a_witness_is_named_and_all_of_them_are_wanted(self) -> None:
        """A witness's URL is https, or on this machine; without a number all must cosign."""
        found = parse(
            "[witnesses.a]\nurl = 'https://a.test/x'\nkey = 'a'\nca_file = 'ca.crt'\n"
            "[witnesses.'b/1']\nurl = 'http://[::1]:7380'\nkey = 'b'",
            file="dev.toml",
            folder=FOLDER,
        )
        assert list(found.witnesses) == ["a", "b/1"]
        assert (found.witnesses["a"].ca_file, found.witness_quorum) == (FOLDER / "ca.crt", 2)
        assert parse("", file="dev.toml", folder=FOLDER).witness_quorum == 0

    def test_a_secret_says_where_its_value_is(self) -> None:
        """Files start from the folder; credentials and variables are names."""
        text = "[secrets]\na = 'file:s/a'\nb = 'credential:db.pw'\nc = 'env:TOKEN'"
        assert read(text).secrets == {
            "a": "file:/srv/dev/s/a",
            "b": "credential:db.pw",
            "c": "env:TOKEN",
        }

    def test_it_cannot_be_changed(self) -> None:
        """What was checked stays as it was checked."""
        config = read("")
        with pytest.raises(ValueError, match="frozen"):
            config.limits.burst = 3  # type: ignore[misc]


class TestTemplate:
    """The file that `init` writes."""

    def test_it_says_every_setting_with_its_default(self) -> None:
        """A fresh file reads back as the defaults; each key stands there under a comment."""
        text = render({}, {})
        assert read(text) == read("")
        lines = text.splitlines()
        for section in SECTIONS.values():
            for key in section.model_fields:
                places = [n for n, line in enumerate(lines) if line.startswith(f"{key} = ")]
                assert places
                assert all(lines[place - 1].startswith("#") for place in places)

    def test_what_was_chosen_is_read_back(self) -> None:
        """Settings and identities, awkward texts among them, survive the file."""
        entry = IdentityEntry(
            person='p "q" \\ ü',
            roles=frozenset({Role.APPROVER}),
            groups=frozenset({"b", "a"}),
            attributes={"k y": "v\n#"},
            expires_at=datetime(2027, 1, 31, tzinfo=UTC),
            daily_budget=0,
        )
        settings = {"server": {"listen": "0.0.0.0:1"}, "log": {"format": "console"}}
        config = read(render(settings, {"CN=x.y": entry}))
        assert config.server.listen == "0.0.0.0:1"
        assert config.log.format == "console"
        assert config.identities == {"CN=x.y": entry}


class TestLineOf:
    """Where a key stands."""

    TEXT = 'a.b = 1\n[t."x.y"]  # c\n  k = 2\nm = [\n  1,\n]\n[[list]]\nk = 3\n'

    @pytest.mark.parametrize(
        ("key", "line"),
        [
            (("a", "b"), 1),
            (("t", "x.y"), 2),
            (("t", "x.y", "k"), 3),
            (("t", "x.y", "absent"), 2),
            (("t", "x.y", "m"), 4),
            (("elsewhere",), None),
        ],
    )
    def test_it_is_the_keys_or_its_tables(self, key: tuple[str, ...], line: int | None) -> None:
        """The key's own line, else the line of the table around it, else none."""
        assert line_of(self.TEXT, key) == line


class TestThisMachine:
    @pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.0.2", "::1"])
    def test_its_own_names(self, host: str) -> None:
        """Every loopback address is this machine's, and the one name that is not looked up."""
        assert is_this_machine(host)

    @pytest.mark.parametrize(
        "host",
        [None, "", "10.0.0.1", "0.0.0.0", "128.0.0.1", "::", "localhost.example.org", "127.1"],
    )
    def test_others(self, host: str | None) -> None:
        """Everything else may be somebody else's, a name above all."""
        assert not is_this_machine(host)
