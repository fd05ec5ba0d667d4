"""A mail that goes round: handed to a server by LMTP, fetched by IMAP, and deleted.

    mail.py keep LMTP IMAP           leaves one there that is to stay
    mail.py kept LMTP IMAP           that one is there still, as it was, and another goes round; exit 1 and a reason where not
    mail.py many LMTP IMAP           fifty go round, one after the other, whatever comes of them
    mail.py serve LMTP IMAP PORT     whoever asks at the port over HTTP has one go round: status 200, or 503 and a reason
"""
import email
import http.server
import imaplib
import smtplib
import sys
import time
import uuid

WITHIN_S = 1.5
KEPT = "what is to stay"
# What a server may do that does not do what it should.
WRONG = (AssertionError, OSError, smtplib.SMTPException, imaplib.IMAP4.error)


def body_of(name):
    return "".join(f"{name} line {line}\r\n" for line in range(40))


def send(port, user, name):
    text = f"From: murphy@localhost\r\nTo: {user}@localhost\r\nSubject: {name}\r\n\r\n{body_of(name)}"
    with smtplib.LMTP("127.0.0.1", port, timeout=WITHIN_S) as server:
        refused = server.sendmail("murphy@localhost", [f"{user}@localhost"], text)
        assert not refused, refused


def fetch(port, user, name, stays=False):
    with imaplib.IMAP4("127.0.0.1", port, timeout=WITHIN_S) as server:
        server.login(user, "any")
        server.select("INBOX")
        _, found = server.search(None, "SUBJECT", f'"{name}"')
        assert found and found[0], f"there is no mail {name}"
        first = found[0].split()[0].decode()
        _, parts = server.fetch(first, "(RFC822)")
        assert isinstance(parts[0], tuple), f"mail {name} is not shown: {parts[0]}"
        got = email.message_from_bytes(parts[0][1])
        text = got.get_payload()
        assert text == body_of(name), f"mail {name} is another: {text[:80]!r}"
        if not stays:
            # With those that came and could not be fetched.
            server.store("1:*", "+FLAGS", "\\Deleted")
            server.expunge()


def go_round(lmtp, imap, user):
    name = uuid.uuid4().hex
    send(lmtp, user, name)
    fetch(imap, user, name)


def serve(lmtp, imap, port):
    class Round(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            try:
                go_round(lmtp, imap, "round")
                status, said = 200, "it went round\n"
            except WRONG as error:
                status, said = 503, f"{error or type(error).__name__}\n"
            try:
                self.send_response(status)
                self.end_headers()
                self.wfile.write(said.encode())
            except BrokenPipeError:
                pass  # Nobody waits any longer.

        def log_message(self, *_):
            pass

    http.server.ThreadingHTTPServer(("127.0.0.1", port), Round).serve_forever()


def main():
    what, lmtp, imap, *rest = sys.argv[1:2] + [int(port) for port in sys.argv[2:]]
    if what == "keep":
        send(lmtp, "kept", KEPT)
        fetch(imap, "kept", KEPT, stays=True)
    elif what == "kept":
        fetch(imap, "kept", KEPT, stays=True)
        go_round(lmtp, imap, "checked")
    elif what == "many":
        for _ in range(50):
            try:
                go_round(lmtp, imap, "many")
            except WRONG as error:
                print(error, flush=True)
                time.sleep(0.05)
    elif what == "serve":
        serve(lmtp, imap, *rest)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    try:
        main()
    except WRONG as error:
        sys.exit(f"mail.py: {error or type(error).__name__}")
