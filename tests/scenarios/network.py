"""What lies between here and the server: proxies, certificates, an SDK client's connections."""

from scenarios.scenario import Mutation, Scenario

_PROXIES = "test_proxies.py::"
_PROXY = "test_wire_proxy.py::"
_TRUST = "test_trust.py::"
_TLS = "test_wire_tls.py::"
_SDK = "test_sdk.py::"
_LUGGAGE = "test_luggage.py::test_it_is_named_with_what_to_set_instead"

SCENARIOS = (
    Scenario(
        what="a proxy on the way, with a password or without",
        holds="the password goes to the proxy and no further; of what is in a tunnel, the key "
        "above all, it sees nothing",
        tests=("test_wire_proxy.py",),
        mutations=(
            Mutation(
                takes_out="a server behind a tunnel never gets the proxy's password",
                module="transport.py",
                was="Veiled({**signed, **(headers or {}), **({} if tunnel else passing)})",
                becomes="Veiled({**signed, **(headers or {}), **passing})",
                test=_PROXY + "test_an_upload_goes_through_a_tunnel_and_stops_and_goes_on",
            ),
            Mutation(
                takes_out="whoever opens a tunnel gets the password",
                module="transport.py",
                was="proxy_headers=passing if tunnel else None",
                becomes="proxy_headers=None",
                test=_PROXY + "test_a_proxy_hears_its_password_and_no_key[create]",
            ),
            Mutation(
                takes_out="whoever opens a tunnel does not get the key",
                module="transport.py",
                was="proxy_headers=passing if tunnel else None",
                becomes="proxy_headers={**signed, **passing} if tunnel else None",
                test=_PROXY + "test_a_proxy_hears_its_password_and_no_key[create]",
            ),
            Mutation(
                takes_out="without a tunnel the password is beside the request",
                module="transport.py",
                was=", **({} if tunnel else passing)}",
                becomes="}",
                test=_PROXY + "test_plain_http_goes_through_it_as_well",
            ),
            Mutation(
                takes_out="an answer that is none shows nothing of what was sent",
                module="foreign.py",
                was="error, detail = _bare(error), ",
                becomes="detail = ",
                test=_PROXY + "test_an_answer_that_is_none_shows_no_key_either",
            ),
        ),
    ),
    Scenario(
        what="a proxy that is down, in trouble, wants another password or forbids",
        holds="it is named with its variable, not the server; nothing was sent, and no File is in"
        " doubt",
        tests=("test_wire_proxy.py", "test_finalizer_doubt.py"),
        mutations=(
            Mutation(
                takes_out="who cannot be reached is told apart",
                module="foreign.py",
                was="if proxy is not None and (error.host, error.port) == proxy.place:",
                becomes="if False:",
                test=_PROXY + "test_a_proxy_that_is_down_is_named_with_its_variable[https]",
            ),
        ),
    ),
    Scenario(
        what="`ALL_PROXY`, or a proxy that is spoken to in socks or in TLS",
        holds="refused by the variable's name before anything is sent; never gone past",
        tests=("test_proxies.py", "test_wire_proxy.py"),
        mutations=(
            Mutation(
                takes_out="a proxy for everything is not gone past",
                module="proxies.py",
                was='            if kind == "all":\n',
                becomes="            if False:\n",
                test=_PROXIES + "test_a_proxy_for_everything_is_refused_where_it_would_be_used",
            ),
            Mutation(
                takes_out="another kind of proxy is not spoken to in plain HTTP",
                module="proxies.py",
                was='    kind = scheme[0].lower() if scheme else "http"\n',
                becomes='    kind, value = "http", value.rpartition("://")[2]\n    scheme = None\n',
                test=_PROXIES
                + "test_a_proxy_of_another_kind_is_refused_by_the_name_of_its_variable",
            ),
            Mutation(
                takes_out="it is refused before a job is made",
                module="endpoint.py",
                was="    proxies.for_url(url)  #",
                becomes="    #",
                test=_PROXIES + "test_what_cannot_be_honoured_is_refused_before_anything_is_sent",
            ),
        ),
    ),
    Scenario(
        what="this very machine, the hosts of `NO_PROXY`, an `HTTP_PROXY` that a web server was"
        " sent",
        holds="no proxy: `localhost` stays here, only what is listed is exempt, and nobody's"
        " header becomes one",
        tests=("test_proxies.py", "test_wire_proxy.py"),
        mutations=(
            Mutation(
                takes_out="what is here goes through no proxy",
                module="proxies.py",
                was='if here(url.host or "") or any(',
                becomes="if any(",
                test=_PROXIES + "test_what_is_here_is_never_reached_through_a_proxy",
            ),
            Mutation(
                takes_out="an exemption for one port is for that port",
                module="proxies.py",
                was="(port is None or port == url.port) and ",
                becomes="",
                test=_PROXIES + "test_the_list_of_exemptions",
            ),
            Mutation(
                takes_out="a header of somebody's request names no proxy",
                module="proxies.py",
                was=' and not (variable == "HTTP_PROXY" and "REQUEST_METHOD" in environ)',
                becomes="",
                test=_PROXIES + "test_each_kind_of_address_has_its_variable",
            ),
        ),
    ),
    Scenario(
        what="a company's own authority, by `--cacert`, `SSL_CERT_FILE` or a profile",
        holds="it replaces the system's store; a server that is not trusted hears nothing, and"
        " the sentence says who signed for it",
        tests=("test_trust.py", "test_wire_tls.py"),
        mutations=(
            Mutation(
                takes_out="whom a person names is believed alone",
                module="trust.py",
                was="        made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)\n        #",
                becomes="        made = ssl.create_default_context()\n        #",
                test=_TRUST + "test_whom_a_person_names_takes_the_place_of_everybody_else",
            ),
            Mutation(
                takes_out="the variable of OpenSSL is heeded",
                module="trust.py",
                was='environ.get("SSL_CERT_FILE") or None, "SSL_CERT_FILE"',
                becomes='None, "SSL_CERT_FILE"',
                test=_TRUST + "test_a_destination_of_its_own_gets_no_certificate_of_openais",
            ),
            Mutation(
                takes_out="who signed what is not trusted is said",
                module="trust.py",
                was="    _tell_signers(made)\n",
                becomes="",
                test=_TLS
                + "test_who_is_not_trusted_hears_nothing_and_the_sentence_says_why[unknown-create]",
            ),
            Mutation(
                takes_out="a profile's file is the same wherever a command is run",
                module="profile/written.py",
                was='not value.startswith(("/", "~")) or ',
                becomes="",
                test=_TLS + "test_a_profile_names_whole_paths",
            ),
        ),
    ),
    Scenario(
        what="a client certificate without its key, with another's, or with a passphrase",
        holds="refused with the file's name before a job is made; nobody is asked for anything",
        tests=("test_trust.py", "test_wire_tls.py"),
        mutations=(
            Mutation(
                takes_out="nobody is asked for a passphrase",
                module="trust.py",
                was="password=nobody",
                becomes='password="none"',
                test=_TRUST + "test_a_key_with_a_passphrase_is_refused_and_nobody_is_asked_for_it",
            ),
            Mutation(
                takes_out="the files are looked at before a job is written",
                module="cli/options.py",
                was="    context(endpoint.trust)  #",
                becomes="    #",
                test=_TLS + "test_files_that_cannot_be_used_are_exit_2_and_nothing_is_written[]",
            ),
        ),
    ),
    Scenario(
        what="a server that wants a client certificate, in the handshake or on nginx's page",
        holds="one sentence that says so, nothing repeated, no doubt; the job goes on with one",
        tests=("test_wire_tls.py", "test_verdicts.py", "test_finalizer_doubt.py"),
        mutations=(
            Mutation(
                takes_out="the alert of a handshake is understood",
                module="foreign.py",
                was="        if (wish := _wish(error)) is not None:\n"
                "            raise wish from blank(error)\n        if lack",
                becomes="        if lack",
                test=_TLS + "test_an_alert_that_asks_for_a_certificate_is_understood_and_nothing_"
                "is_repeated[771-create]",
            ),
            Mutation(
                takes_out="an alert that comes after the handshake is understood",
                module="foreign.py",
                was="        if (wish := _wish(error)) is not None:\n"
                "            raise wish from blank(error)\n        detail",
                becomes="        detail",
                test=_TLS + "test_an_alert_that_asks_for_a_certificate_is_understood_and_nothing_"
                "is_repeated[772-create]",
            ),
            Mutation(
                takes_out="nginx's page is no refusal of the content",
                module="verdicts.py",
                was="if status == 400 and _NO_CERTIFICATE.search(body):",
                becomes="if False:",
                test="test_verdicts.py::test_nginx_says_in_a_page_that_it_wants_a_certificate",
            ),
            Mutation(
                takes_out="a handshake that failed made no File",
                module="finalizer.py",
                was="Untrusted | WantsCertificate | ProxyRefused | Refused",
                becomes="Untrusted | ProxyRefused | Refused",
                test="test_finalizer_doubt.py::"
                "test_only_a_connection_that_was_never_made_is_surely_no_ask",
            ),
        ),
    ),
    Scenario(
        what="a `.netrc` with a password for every host",
        holds="never read: it would replace the key, or be sent beside it",
        tests=("test_api.py", "test_wire_tls.py"),
        mutations=(
            Mutation(
                takes_out="nobody else says who we are",
                module="transport.py",
                was="trust_env=False",
                becomes="trust_env=True",
                test=_TLS + "test_no_netrc_is_ever_read",
            ),
        ),
    ),
    Scenario(
        what="an SDK client whose requests lead elsewhere, or whose connections do what ours"
        " cannot",
        holds="never followed; a send, hook, proxy, `verify` or auth of its own is refused by"
        " name, nothing is left out unsaid",
        tests=("test_sdk.py", "test_luggage.py"),
        mutations=(
            Mutation(
                takes_out="its key stays with the base URL that it had",
                module="sdk/__init__.py",
                was='if not url.startswith(self._theirs + "/"):',
                becomes="if False:",
                test=_SDK + "test_a_request_that_leads_elsewhere_is_not_sent",
            ),
            Mutation(
                takes_out="of what its source raises only the kind is shown",
                module="sdk/__init__.py",
                was="({type(error).__name__})",
                becomes="({error})",
                test=_SDK + "test_what_a_source_raises_is_a_stop_that_shows_only_its_kind",
            ),
            Mutation(
                takes_out="a proxy of its own is not gone past",
                module="sdk/luggage.py",
                was="    _same_way(proxy, URL(base_url))\n",
                becomes="",
                test=_LUGGAGE + "[proxy]",
            ),
        ),
    ),
)
