"""The schema. Money is in whole micro-dollars, time in unix seconds of the database's clock."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    Enum,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    false,
    text,
)

from tintype.store.db.records import VENDOR, DeliveryStatus, Entry, PreloadState, Status

# Named constraints: without names, a later migration could not drop them.
metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

accounts = Table(
    "accounts",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("name", Text, nullable=False),
    # Both are the sums of the ledger's columns of the same names, written in the same transaction as its rows.
    Column("balance", BigInteger, nullable=False),
    #: What the requests that have not ended will cost if they complete; `balance - held` is what can be spent.
    Column("held", BigInteger, CheckConstraint("held >= 0", name="held"), nullable=False),
    Column("created_at", Double, nullable=False),
    #: The account whose test keys this one is for; null for an ordinary one.
    Column("test_of", String(36)),
    #: When the token bucket that its keys share will be full again: before now, it is full.
    Column("bucket_full_at", Double, nullable=False, server_default=text("0")),
    #: Number of the last claim that went to this account: the smallest is next.
    Column("last_turn", BigInteger, nullable=False, server_default=text("0")),
    Index("ix_accounts_last_turn", "last_turn"),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("account_id", String(36), ForeignKey("accounts.id"), nullable=False),
    Column("name", Text, nullable=False),
    #: SHA-256 of the key in hex; the key itself is nowhere. It is random, so it needs no salt.
    Column("digest", String(64), nullable=False, unique=True),
    Column("hint", String(7), nullable=False),
    #: Whether the key begins with SG_test: its requests run on the fake worker, and are free.
    Column("test", Boolean, nullable=False, server_default=false()),
    #: Slugs that the key may run; null is all of them.
    Column("models", JSON(none_as_null=True)),
    Column("read_only", Boolean, nullable=False),
    #: Whether it may see the whole server's state, pause its queue and drain its workers.
    Column("operator", Boolean, nullable=False, server_default=false()),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double),
    Column("revoked_at", Double),
    #: The same of this key: the smallest of its account's is next.
    Column("last_turn", BigInteger, nullable=False),
    #: The secret before the last rotation, and until when it works.
    Column("old_digest", String(64)),
    Column("old_until", Double),
    #: The maximum of `spent`.
    Column("spend_cap", BigInteger),
    #: What its requests have cost, and what those that have not ended hold: a sum over the ledger, as in `accounts`.
    Column("spent", BigInteger, nullable=False, server_default=text("0")),
    #: Pixels that one request may ask for.
    Column("max_pixels", BigInteger),
    #: Maximum of `daily_spend_used` and of `daily_requests_used`.
    Column("daily_spend", BigInteger),
    Column("daily_requests", Integer),
    #: What the requests cost or hold that were submitted on this UTC day, counted from 1970-01-01, and their number;
    #: on another day, nothing of it counts. As processes of versions before 0024 submit, it isn't counted.
    Column("daily_used_on", Integer, nullable=False, server_default=text("0")),
    Column("daily_spend_used", BigInteger, nullable=False, server_default=text("0")),
    Column("daily_requests_used", Integer, nullable=False, server_default=text("0")),
    #: Its own limits; null is the server's: requests per minute, requests and images that have not ended.
    Column("rpm", Integer),
    Column("concurrency", Integer),
    Column("max_queued", Integer),
    #: Its own strictness of the safety filter; null is the server's.
    Column("safety", String(5)),
    #: When its own token bucket, which it has with an `rpm`, will be full again.
    Column("bucket_full_at", Double, nullable=False, server_default=text("0")),
    #: Whether a key made it (`POST /v2/keys`), not an operator: it shares the account's limits, whatever its own are.
    Column("self_made", Boolean, nullable=False, server_default=false()),
    Index("ix_api_keys_account", "account_id"),
    Index("ix_api_keys_old_digest", "old_digest"),
)

#: `accounts.options.KeyOptions`; no row for a key whose clients set nothing.
key_options = Table(
    "key_options",
    metadata,
    Column("key_id", String(36), ForeignKey("api_keys.id"), primary_key=True),
    Column("checkpoint", Text),
    Column("samples_format", String(10)),
    Column("jpeg_quality", Integer),
)

#: What each column means stands at the attributes of `records.Request`.
requests = Table(
    "requests",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("seq", BigInteger, nullable=False, unique=True),
    Column("account_id", String(36), ForeignKey("accounts.id"), nullable=False),
    Column("key_id", String(36), ForeignKey("api_keys.id"), nullable=False),
    Column("slug", Text, nullable=False),
    Column("params", JSON, nullable=False),
    Column("generation", JSON(none_as_null=True)),
    Column("price", BigInteger, CheckConstraint("price >= 0", name="price"), nullable=False),
    Column("priority", Integer, nullable=False),
    Column("status", Enum(Status, native_enum=False, length=10), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("hand_backs", Integer, nullable=False),
    Column("worker", Text),
    Column("lease_until", Double),
    Column("cancel_requested", Boolean, nullable=False),
    Column("step", Integer, nullable=False),
    Column("steps", Integer, nullable=False),
    Column("submitted_at", Double, nullable=False),
    Column("started_at", Double),
    Column("ended_at", Double),
    Column("expires_at", Double),
    Column("result", JSON(none_as_null=True)),
    Column("error", Text),
    Column("error_status", Integer),
    #: Null also in rows from before it was noted.
    Column("error_kind", String(40)),
    Column("rate", BigInteger),
    Column("cost", BigInteger),
    #: `Request.images`.
    Column("pictures", Integer, nullable=False, server_default=text("1")),
    Column("cancel_at", Double),
    Column("idempotency_key", Text),
    Column("fingerprint", String(64)),
    Column("reply", JSON(none_as_null=True)),
    Column("base_url", Text),
    Column("webhook_url", Text),
    #: `Request.speed_key`.
    Column("pace", Text),
    Column("watched_until", Double),
    Column("test", Boolean, nullable=False, server_default=false()),
    Column("due_at", Double),
    Column("traceparent", String(55)),
    Column("safety", String(5), nullable=False, server_default="off"),
    Column("dialect", String(10), nullable=False, server_default=VENDOR),
    Column("asked", JSON(none_as_null=True)),
    #: `records.Callback`.
    Column("callback", JSON(none_as_null=True)),
    # Those of a key and priority in claim order; the last two spare reading the rows, which are large. No column that a
    # heartbeat changes may be in an index: Postgres would have to rewrite all of them.
    Index("ix_requests_claim", "status", "test", "key_id", "priority", "seq", "due_at", "pictures"),
    Index("ix_requests_deadline", "status", "cancel_at"),
    Index("ix_requests_expiry", "expires_at"),
    Index("ix_requests_key", "key_id", "submitted_at"),
    Index("ix_requests_account", "account_id", "submitted_at"),
    Index("ix_requests_idempotency", "key_id", "idempotency_key", unique=True),
)

#: Requests that have not ended, by key and priority; no row where there is none. Triggers keep it (migration 0022).
unended = Table(
    "unended",
    metadata,
    Column("key_id", String(36), primary_key=True),
    Column("priority", Integer, primary_key=True, autoincrement=False),
    #: The key's.
    Column("account_id", String(36), nullable=False),
    Column("test", Boolean, nullable=False),
    Column("requests", Integer, nullable=False),
    Column("images", Integer, nullable=False),
    Index("ix_unended_account", "account_id"),
)

_HOLD = text("kind = 'hold'")
ENDS = text("kind IN ('settle', 'release')")
ledger = Table(
    "ledger",
    metadata,
    # SQLite numbers rows by itself only where the type is called INTEGER.
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("account_id", String(36), ForeignKey("accounts.id"), nullable=False),
    #: Whose request it was; the request itself may be gone. Both are null for what an operator did.
    Column("key_id", String(36)),
    Column("request_id", String(36)),
    Column("kind", Enum(Entry, native_enum=False, length=7, values_callable=list), nullable=False),
    #: What the row adds to the account's `balance` and `held`.
    Column("balance", BigInteger, nullable=False),
    Column("held", BigInteger, nullable=False),
    Column("note", Text),
    Column("created_at", Double, nullable=False),
    Index("ix_ledger_account", "account_id", "id"),
    # What all accounts paid in a month, for operators, without reading everything before it.
    Index("ix_ledger_ended", "created_at", sqlite_where=ENDS, postgresql_where=ENDS),
    # One end per hold: whatever the code does, no request is charged twice.
    Index("ix_ledger_end", "request_id", unique=True, sqlite_where=ENDS, postgresql_where=ENDS),
    Index("ix_ledger_hold", "request_id", unique=True, sqlite_where=_HOLD, postgresql_where=_HOLD),
)

workers = Table(
    "workers",
    metadata,
    Column("id", Text, primary_key=True),
    Column("device", Text, nullable=False),
    Column("started_at", Double, nullable=False),
    Column("seen_at", Double, nullable=False),
    # These are counted since its start: forward passes, the rows in them, and seconds of the steps that they were in.
    Column("forward_passes", BigInteger, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("step_seconds", Double, nullable=False, server_default=text("0")),
    #: Loads of weights, and the seconds that they took; counted since its start too.
    Column("cold_starts", BigInteger, nullable=False, server_default=text("0")),
    Column("cold_seconds", Double, nullable=False, server_default=text("0")),
    #: Rows that fit into one forward pass.
    Column("max_rows", Integer, nullable=False, server_default=text("0")),
    #: `core.WorkerReport` as JSON.
    Column("about", JSON(none_as_null=True)),
    #: When it was drained, and when it had ended its requests and left; such a row stays until it is recalled.
    Column("drain_at", Double),
    Column("left_at", Double),
    #: Whether its own fleet drained it, not an operator.
    Column("released", Boolean, nullable=False, server_default=false()),
    #: Further counts since its start, by the keys of `counters`.
    Column("counts", JSON(none_as_null=True)),
    #: Of tintype; empty where it is from before this was noted.
    Column("version", Text, nullable=False, server_default=text("''")),
)

#: The web processes; `models` is by slug what each model is.
servers = Table(
    "servers",
    metadata,
    Column("id", Text, primary_key=True),
    Column("version", Text, nullable=False),
    Column("models", JSON, nullable=False),
    Column("started_at", Double, nullable=False),
    Column("seen_at", Double, nullable=False),
    Column("left_at", Double),
)

#: What is known of the database as a whole; `facts.py` has the names.
facts = Table("facts", metadata, Column("name", String(20), primary_key=True), Column("value", JSON, nullable=False))

#: Sums over all time, which no restart resets.
counters = Table("counters", metadata, Column("key", Text, primary_key=True), Column("value", Double, nullable=False))

#: What an operator has told the whole server: whether the queue is paused (`queue/claim.py`).
controls = Table(
    "controls",
    metadata,
    Column("name", String(20), primary_key=True),
    Column("since", Double, nullable=False),
)

#: The autoscalers' leases: which one leads a fleet, until when, and how many workers it wants.
keepers = Table(
    "keepers",
    metadata,
    Column("fleet", String(20), primary_key=True),
    Column("holder", Text, nullable=False),
    Column("lease_until", Double, nullable=False),
    Column("wanted", Integer, nullable=False),
    Column("version", Text, nullable=False, server_default=text("''")),
)

#: Who did what to the server and to accounts' keys and webhooks; each row is written with the act (`audit.py`).
audit = Table(
    "audit",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("at", Double, nullable=False),
    #: Of an act that was repeated within the hour, each time alike: when last, and how often.
    Column("last_at", Double, nullable=False),
    Column("times", Integer, nullable=False, server_default=text("1")),
    Column("act", String(40), nullable=False),
    #: The id of what was changed, and the account that it belongs to.
    Column("target", Text, nullable=False),
    Column("account_id", String(36)),
    #: `api`, `cli` or `server`; the key's name and how it begins, or the system's user and host; the client's address.
    Column("via", String(10), nullable=False),
    Column("who", Text, nullable=False),
    Column("address", Text),
    #: The key that did it and its account; both may be gone.
    Column("by_account", String(36)),
    Column("by_key", String(36)),
    Column("details", JSON, nullable=False),
    Index("ix_audit_last", "last_at"),
    Index("ix_audit_by", "by_account", "at"),
    Index("ix_audit_account", "account_id"),
)

_NONE_YET = text("0")
#: The time series: a day of buckets of ten seconds.
samples = Table(
    "samples",
    metadata,
    #: The first second.
    Column("at", BigInteger, primary_key=True, autoincrement=False),
    # Gauges, as a web process measured them; null where none did.
    Column("queued", Integer),
    Column("running", Integer),
    Column("workers", Integer),
    #: Bytes of all workers together: of host memory and of device memory.
    Column("memory", BigInteger),
    Column("device_memory", BigInteger),
    # Counters that workers add to at their heartbeats; `room` is the capacity of the forward passes, in rows.
    Column("forward_passes", BigInteger, nullable=False, server_default=_NONE_YET),
    Column("rows", BigInteger, nullable=False, server_default=_NONE_YET),
    Column("room", BigInteger, nullable=False, server_default=_NONE_YET),
    Column("step_seconds", Double, nullable=False, server_default=_NONE_YET),
    Column("cold_starts", Integer, nullable=False, server_default=_NONE_YET),
    Column("cold_seconds", Double, nullable=False, server_default=_NONE_YET),
    # Requests that ended, by `Request.outcome`.
    Column("completed", Integer, nullable=False, server_default=_NONE_YET),
    Column("failed", Integer, nullable=False, server_default=_NONE_YET),
    Column("refused", Integer, nullable=False, server_default=_NONE_YET),
    Column("cancelled", Integer, nullable=False, server_default=_NONE_YET),
)

#: Which models each worker has loaded, is to load, or could not load.
warmups = Table(
    "warmups",
    metadata,
    Column("slug", Text, primary_key=True),
    Column("worker", Text, primary_key=True),
    Column("state", Enum(PreloadState, native_enum=False, length=10), nullable=False),
    Column("seconds", Double),
    Column("error", Text),
    #: When it was asked for, or changed by itself.
    Column("changed_at", Double, nullable=False),
    #: Whether the model's denoiser is on the device, whatever has become of the rest: affinity goes by it.
    Column("loaded", Boolean, nullable=False, server_default=false()),
)

webhooks = Table(
    "webhooks",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("account_id", String(36), ForeignKey("accounts.id"), nullable=False),
    #: Null for the account's own one, which signs what requests with an X-Webhook-URL cause.
    Column("url", Text),
    #: Not a request's address: that is a header of its caller's, who may be another one with a key. Null where the
    #: operator has set the address.
    Column("base_url", Text),
    Column("events", JSON, nullable=False),
    # In the clear, since it signs; a reader of this database could write to it as well.
    Column("secret", Text, nullable=False),
    #: The secret before the last rotation, and until when it signs too.
    Column("old_secret", Text),
    Column("old_until", Double),
    Column("created_at", Double, nullable=False),
    Column("succeeded_at", Double),
    Column("disabled_at", Double),
    Column("disabled_reason", Text),
    #: Whether its owner made it inactive.
    Column("removed", Boolean, nullable=False),
    Index("ix_webhooks_account", "account_id", "created_at"),
)

#: The outbox, and the log of what was sent.
deliveries = Table(
    "deliveries",
    metadata,
    #: The message's id, the same at every attempt: receivers know repetitions by it.
    Column("id", String(40), primary_key=True),
    Column("webhook_id", String(36), ForeignKey("webhooks.id"), nullable=False),
    Column("account_id", String(36), nullable=False),
    #: The request itself may be long gone.
    Column("request_id", String(36), nullable=False),
    Column("event", Text, nullable=False),
    Column("url", Text, nullable=False),
    #: Scheme, host and port of the address, by which concurrency is limited.
    Column("receiver", Text, nullable=False),
    #: What is signed and sent, to the byte.
    Column("body", Text, nullable=False),
    Column("status", Enum(DeliveryStatus, native_enum=False, length=9), nullable=False),
    #: Number of claims, which fences late senders as with requests; those before the last replay.
    Column("attempt", Integer, nullable=False),
    Column("earlier", Integer, nullable=False),
    Column("due_at", Double, nullable=False),
    Column("lease_until", Double),
    Column("created_at", Double, nullable=False),
    Column("ended_at", Double),
    #: What came of the last attempt.
    Column("response_status", Integer),
    Column("error", Text),
    #: Its request's.
    Column("traceparent", String(55)),
    Index("ix_deliveries_due", "status", "due_at"),
    Index("ix_deliveries_webhook", "webhook_id", "created_at"),
)

#: Measured speeds; `pace` is the speed key (`catalog.parameters`).
paces = Table(
    "paces",
    metadata,
    Column("pace", Text, primary_key=True),
    #: Of a step, in whatever batches the requests ran; a moving average.
    Column("seconds", Double, nullable=False),
    Column("measured", BigInteger, nullable=False),
)

#: What each end adds to `counters`, `samples`, `paces` and `outputs`, until it is folded into them (`measurements.py`).
journal = Table(
    "journal",
    metadata,
    #: Order of the ends.
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("at", Double, nullable=False),
    Column("slug", Text, nullable=False),
    #: `Request.outcome`; null for a test, which isn't counted.
    Column("outcome", String(9)),
    #: Micro-dollars; null where nothing was to be charged.
    Column("charged", BigInteger),
    #: The speed that was measured; null where none was.
    Column("speed_key", Text),
    Column("step_seconds", Double),
    #: Rows of `outputs`.
    Column("outputs", JSON(none_as_null=True)),
    #: Whose outputs they are; null where a process of a version before 0026 wrote it.
    Column("request_id", String(36)),
)

#: The latest preview of each image that is being made, apart from its request's row, which is read often.
previews = Table(
    "previews",
    metadata,
    Column("request_id", String(36), primary_key=True),
    #: Which of the request's images, from 0.
    Column("picture", Integer, primary_key=True, autoincrement=False),
    Column("attempt", Integer, nullable=False),
    #: Counts the attempt's previews, of all its images.
    Column("look", Integer, nullable=False),
    Column("step", Integer, nullable=False),
    #: Whether it is of the finished image, while others of the request still run.
    Column("finished", Boolean, nullable=False),
    Column("jpeg", LargeBinary, nullable=False),
)

#: Requests whose record has expired, for their account; the columns are those of `requests`.
history = Table(
    "history",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("account_id", String(36), nullable=False),
    Column("slug", Text, nullable=False),
    Column("params", JSON, nullable=False),
    Column("status", Enum(Status, native_enum=False, length=10), nullable=False),
    Column("cost", BigInteger),
    Column("submitted_at", Double, nullable=False),
    Column("started_at", Double),
    Column("ended_at", Double),
    Column("result", JSON(none_as_null=True)),
    Column("error", Text),
    Index("ix_history_account", "account_id", "submitted_at"),
    Index("ix_history_expiry", "ended_at"),
)

#: Images that were uploaded to be used again.
assets = Table(
    "assets",
    metadata,
    #: Of its file, under which it is fetched.
    Column("name", String(40), primary_key=True),
    Column("account_id", String(36), ForeignKey("accounts.id"), nullable=False),
    #: Bytes.
    Column("size", BigInteger, nullable=False),
    Column("expires_at", Double, nullable=False),
    #: Pixels, oriented as displayed; null where it was uploaded before they were noted.
    Column("width", Integer),
    Column("height", Integer),
    #: What its account says of it: the fields of `StoredUpload` that aren't columns. Null where it says nothing.
    Column("about", JSON(none_as_null=True)),
    Index("ix_assets_account", "account_id", "expires_at"),
)

#: Requests that have not ended and have input images stored here.
inputs = Table(
    "inputs",
    metadata,
    Column("request_id", String(36), primary_key=True),
    Column("account_id", String(36), nullable=False),
    #: Of the file; where `size` is 0, an upload or an output that is only referred to.
    Column("name", String(40), nullable=False),
    #: Bytes of all its input images that came in its body.
    Column("size", BigInteger, nullable=False),
    #: The init image's pixels, oriented as displayed; null where it isn't stored here, or from before they were noted.
    Column("width", Integer),
    Column("height", Integer),
    #: The names of its other files, such as the mask's, with a blank between them.
    Column("further", String(120)),
    Index("ix_inputs_account", "account_id", "size"),
)

#: Finished images: their pixels, so that no file is read for its size when it is named as an input, and their requests.
outputs = Table(
    "outputs",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("expires_at", Double, nullable=False),
    #: Null where a process of a version before 0026 took part in the request's end.
    Column("request_id", String(36)),
    Index("ix_outputs_expiry", "expires_at"),
)

#: What accounts have said of finished images: to keep them, or to delete them. All others have no row.
image_marks = Table(
    "image_marks",
    metadata,
    #: Of the file.
    Column("name", String(40), primary_key=True),
    Column("request_id", String(36), nullable=False),
    Column("account_id", String(36), nullable=False),
    #: Whether it is to be kept; else it was deleted.
    Column("kept", Boolean, nullable=False),
    #: Bytes, as they count towards what its account may keep.
    Column("size", BigInteger, nullable=False),
    Column("at", Double, nullable=False),
    #: Until when it is kept all the same, once its account no longer wants it; null before that.
    Column("until", Double),
    Index("ix_image_marks_request", "request_id"),
    # Covering: what is kept is summed up.
    Index("ix_image_marks_kept", "kept", "account_id", "size"),
    Index("ix_image_marks_at", "at"),
    Index("ix_image_marks_until", "until"),
)

#: What signs the manifests of images: the server's own pairs, and certificates from elsewhere that it has used.
signers = Table(
    "signers",
    metadata,
    Column("id", Integer, primary_key=True),
    #: PEM: of an own pair its root, which has signed nothing else; else the last certificate of the chain.
    Column("root", Text, nullable=False),
    #: PEM, the leaf first.
    Column("chain", Text, nullable=False),
    # In the clear, since it signs; null once it is retired, and where it is elsewhere.
    Column("key", Text),
    Column("created_at", Double, nullable=False),
    #: When another pair took its place; null for the current one, and for certificates from elsewhere.
    Column("retired_at", Double),
    #: From when on it proves nothing, as its key may be another's too; null where it still does.
    Column("distrusted_at", Double),
    #: Whether it is a pair made here.
    Column("own", Boolean, nullable=False),
)

_NUMBERED = text("number IS NOT NULL")
_OF_REQUEST = text("request_id IS NOT NULL")
#: What images were made here, for the detector. No account, and no time of day: it must not say who made one.
image_log = Table(
    "image_log",
    metadata,
    #: The hour's beginning.
    Column("made_at", Double, primary_key=True, autoincrement=False),
    #: Random.
    Column("id", LargeBinary(16), primary_key=True),
    #: Of its watermark; null without one.
    Column("number", LargeBinary(6)),
    #: SHA-256 of its file, as it was stored.
    Column("digest", LargeBinary(32), nullable=False),
    Column("slug", Text, nullable=False),
    #: Null once its account's history no longer has it.
    Column("request_id", String(36)),
    Index("ix_image_log_digest", "digest"),
    Index("ix_image_log_number", "number", sqlite_where=_NUMBERED, postgresql_where=_NUMBERED),
    Index("ix_image_log_request_id", "request_id", sqlite_where=_OF_REQUEST, postgresql_where=_OF_REQUEST),
)
