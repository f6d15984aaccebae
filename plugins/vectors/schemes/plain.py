"""An HMAC, or a token, in a header: the common case."""

from record import NOW, Sent, b64, bytes_of, mac, provider, public, rest, secret_of

JSON = {"Content-Type": "application/json"}


def plain(name, header, *, hash="sha256", write=bytes.hex, prefix="", extra=(), key=lambda secret: secret, **more):
    """A provider that sends the HMAC of the body in `header`."""

    def sign(secrets, body, now):
        digest = write(mac(hash, key(secrets["signing"]), body))
        return Sent([(header, prefix + digest)], extra, body=body)

    provider(name, **more)(sign)
    return sign


def signed(id, kind):
    return {"id": id, "signed": True, "type": kind}


def beside(id, kind=None):
    return {"id": id, "signed": False, **({"type": kind} if kind else {})}


plain("bitbucket", "X-Hub-Signature", prefix="sha256=", event=beside("b1d5", "repo:push"),
      extra=[("X-Event-Key", "repo:push"), ("X-Request-UUID", "b1d5")])
plain("intercom", "X-Hub-Signature", hash="sha1", prefix="sha1=", event=signed("notif_1", "conversation.user.created"),
      body=b'{"type":"notification_event","id":"notif_1","topic":"conversation.user.created","data":{}}')
plain("razorpay", "X-Razorpay-Signature", event=beside("ev_1", "payment.captured"), extra=[("x-razorpay-event-id", "ev_1")],
      body=b'{"entity":"event","event":"payment.captured","payload":{}}')
plain("paystack", "x-paystack-signature", hash="sha512", event={"type": "charge.success"},
      body=b'{"event":"charge.success","data":{"id":302961}}')
plain("sentry", "Sentry-Hook-Signature", event=beside("r-1", "issue"),
      extra=[("Sentry-Hook-Resource", "issue"), ("Request-ID", "r-1"), ("Sentry-Hook-Timestamp", str(NOW))])
plain("vercel", "x-vercel-signature", hash="sha1", event=signed("evt_1042", "payment.succeeded"))
plain("typeform", "Typeform-Signature", write=b64, prefix="sha256=", event=signed("01H", "form_response"),
      body=b'{"event_id":"01H","event_type":"form_response","form_response":{}}')
plain("dropbox", "X-Dropbox-Signature", event={}, body=b'{"list_folder":{"accounts":["dbid:1"]},"delta":{"users":[1]}}')
plain("line", "x-line-signature", write=b64, event={}, body=b'{"destination":"U1","events":[{"type":"message"}]}')
plain("xero", "x-xero-signature", write=b64, event={}, second='{"events":[{"eventType":"Zoë"}]}'.encode(),
      body=b'{"events":[{"resourceId":"1","eventType":"UPDATE"}],"firstEventSequence":1,"lastEventSequence":1,"entropy":"S"}')
plain("asana", "X-Hook-Signature", event={}, body=b'{"events":[{"action":"changed","resource":{"gid":"1"}}]}')
plain("lemonsqueezy", "X-Signature", event={"type": "order_created"}, body=b'{"meta":{"event_name":"order_created"},"data":{}}')
plain("coinbase-commerce", "X-CC-Webhook-Signature", event=signed("e-1", "charge:confirmed"),
      body=b'{"id":1,"event":{"id":"e-1","type":"charge:confirmed"}}')
plain("gocardless", "Webhook-Signature", event={"id": "WB1", "signed": True},
      body=b'{"events":[{"id":"EV1"}],"meta":{"webhook_id":"WB1"}}')
plain("easypost", "X-Hmac-Signature", prefix="hmac-sha256-hex=", event=signed("evt_2", "tracker.updated"),
      body=b'{"object":"Event","id":"evt_2","description":"tracker.updated"}')
heroku = plain("heroku", "Heroku-Webhook-Hmac-SHA256", write=b64, event=signed("h-1", "api:release"),
      body=b'{"id":"h-1","webhook_metadata":{"event":{"id":"e","include":"api:release"}}}')
rest("heroku").add(heroku({"signing": secret_of("heroku")}, b'{"id":"h-2","resource":"dyno","action":"destroy"}', NOW), "accept",
                   "a body without metadata, as Heroku sends for a dyno that ended", event=signed("h-2", "api:dyno"))
plain("onfido", "X-SHA2-Signature", event={"type": "check.completed"},
      body=b'{"payload":{"resource_type":"check","action":"check.completed","object":{"id":"c"}}}')
plain("stream-chat", "X-Signature", event=beside("w-1", "message.new"), extra=[("X-Webhook-Id", "w-1"), ("X-Api-Key", "k")],
      body=b'{"type":"message.new","cid":"messaging:fun"}')
plain("circleci", "circleci-signature", prefix="v1=", event=signed("c-1", "workflow-completed"),
      body=b'{"id":"c-1","type":"workflow-completed"}')
plain("pagerduty", "X-PagerDuty-Signature", prefix="v1=", event=signed("01A", "incident.triggered"),
      body=b'{"event":{"id":"01A","event_type":"incident.triggered"}}')
plain("adyen-platform", "HmacSignature", write=b64, key=bytes.fromhex, event={"type": "balancePlatform.transfer.created"},
      body=b'{"type":"balancePlatform.transfer.created","data":{"id":"1"},"environment":"test"}')
plain("woocommerce", "X-WC-Webhook-Signature", write=b64, event=beside("d0e2", "order.created"),
      extra=[("X-WC-Webhook-Topic", "order.created"), ("X-WC-Webhook-Delivery-ID", "d0e2")])
plain("meta", "X-Hub-Signature-256", prefix="sha256=", event={"type": "page"}, body=b'{"object":"page","entry":[{"id":"1"}]}',
      secrets={"signing": secret_of("meta"), "verify_token": "meatyhamhock"},
      other={"signing": secret_of("meta/other"), "verify_token": "other"})


@provider("linear", stamped=True, second=None, event=beside("d-1", "Issue"),
          body=b'{"action":"update","type":"Issue","data":{},"webhookTimestamp":%d123}' % NOW)
def linear(secrets, body, now):
    body = body.replace(str(NOW).encode(), str(now).encode())
    return Sent([("Linear-Signature", mac("sha256", secrets["signing"], body).hex())], [("Linear-Delivery", "d-1")], body=body)


untimed = b'{"action":"update","type":"Issue"}'
rest("linear").add(linear({"signing": secret_of("linear")}, untimed, NOW), "reject", "a body without a time")


@provider("mollie", event=signed("event_1", "payment-link.paid"), body=b'{"resource":"event","id":"event_1","type":"payment-link.paid"}',
          repeats=False)
def mollie(secrets, body, now):
    return Sent([("X-Mollie-Signature", "sha256=" + mac("sha256", secrets["signing"], body).hex())], body=body)


def mollie_rotation():
    one = mollie({"signing": secret_of("mollie/other")}, b"{}", NOW)
    two = mollie({"signing": secret_of("mollie")}, b"{}", NOW)
    rest("mollie").add(one.copy(headers=one.headers + two.headers), "accept", "one header for each secret while it is rotated")
    rest("mollie").add(one.copy(headers=one.headers + one.headers), "reject", "two headers, none by ours")
    bare = [[name, value.removeprefix("sha256=")] for name, value in two.headers]
    rest("mollie").add(two.copy(headers=bare), "accept", "a digest without the prefix, which the library takes")
    rest("mollie").add(Sent(body=b"id=tr_1"), "reject", "a classic webhook, which is not signed")


mollie_rotation()


@provider("pusher", options={"key": "a1b2"}, event={}, body=b'{"time_ms":1790000000000,"events":[{"name":"channel_occupied"}]}')
def pusher(secrets, body, now):
    digest = mac("sha256", secrets["signing"], body).hex()
    return Sent([("X-Pusher-Signature", digest), ("X-Pusher-Key", "a1b2")], body=body)


rest("pusher").add(pusher({"signing": secret_of("pusher")}, b"{}", NOW), "reject", "another app's key", options={"key": "c3d4"})


@provider("docusign", event={"type": "envelope-completed"}, body=b'{"event":"envelope-completed","data":{"envelopeId":"1"}}')
def docusign(secrets, body, now):
    return Sent([("X-DocuSign-Signature-1", b64(mac("sha256", secrets["signing"], body)))], body=body)


def docusign_keys():
    one = b64(mac("sha256", secret_of("docusign/other"), b"{}"))
    two = b64(mac("sha256", secret_of("docusign"), b"{}"))
    both = Sent([("X-DocuSign-Signature-1", one), ("X-DocuSign-Signature-2", two)], body=b"{}")
    rest("docusign").add(both, "accept", "two keys in the account, ours second")
    rest("docusign").add(both.copy(headers=both.headers[:1]), "reject", "only the other key's signature")


docusign_keys()


@provider("telegram", second=None, tampered=False, event=beside("731"), digits=True, body=b'{"update_id":731,"message":{}}')
def telegram(secrets, body, now):
    return Sent([("X-Telegram-Bot-Api-Secret-Token", secrets["signing"])], body=body)


# Handshakes.
challenge = Sent(body=b"", method="GET", url="https://hooks.example.test/hooks/dropbox?challenge=a%2Bb1")
rest("dropbox").add(challenge, "respond", "the challenge", reply="a+b1")
rest("dropbox").add(challenge.copy(url="https://hooks.example.test/hooks/dropbox"), "reject", "a GET without a challenge")

rest("intercom").add(Sent(body=b"", method="HEAD"), "respond", "the HEAD when a URL is entered")

META = "https://hooks.example.test/hooks/meta?hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token="
rest("meta").add(Sent(body=b"", method="GET", url=META + "meatyhamhock"), "respond", "the subscription", reply="1158201444")
rest("meta").add(Sent(body=b"", method="GET", url=META + "other"), "reject", "the subscription with another token")
rest("meta").add(Sent(body=b"", method="GET", url=META), "reject", "the subscription with an empty token")
rest("meta").add(Sent(body=b"", method="GET", url=META.split("&hub.v")[0]), "reject", "the subscription without a token")

rest("woocommerce").add(Sent(body=b"webhook_id=17"), "respond", "the ping when a webhook is saved")
rest("woocommerce").add(Sent(body=b"webhook_id=17&x=1"), "reject", "an unsigned form that is no ping")

intent = b'{"events":[],"firstEventSequence":0,"lastEventSequence":0,"entropy":"S"}'
digest = b64(mac("sha256", secret_of("xero"), intent))
rest("xero").add(Sent([("x-xero-signature", digest)], body=intent), "respond", "the intent to receive")
rest("xero").add(Sent([("x-xero-signature", b64(mac("sha256", "x", intent)))], body=intent), "reject", "the intent, badly signed")

rest("asana").add(Sent([("X-Hook-Secret", "b537207f20cbfa02357cf448134da559")], body=b"{}"), "respond", "the handshake")
rest("asana").add(Sent([("X-Hook-Secret", "a b")], body=b"{}"), "reject", "a handshake whose secret is none")

two = [f"v1={mac('sha256', key, b'{}').hex()}" for key in (secret_of("pagerduty/other"), secret_of("pagerduty"))]
rest("pagerduty").add(Sent([("X-PagerDuty-Signature", ",".join(two))], body=b"{}"), "accept", "two signatures, ours last")
rest("pagerduty").add(Sent([("X-PagerDuty-Signature", ", ".join(two))], body=b"{}"), "reject", "two signatures, ours after a space")
rest("pagerduty").add(Sent([("X-PagerDuty-Signature", two[1].replace("v1=", "v2="))], body=b"{}"), "reject", "another version")
