SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;
CREATE FUNCTION public.ledger_append_only() RETURNS trigger
    LANGUAGE plpgsql
    AS $$ BEGIN RAISE EXCEPTION 'the ledger is append-only' USING ERRCODE = 'integrity_constraint_violation'; END $$;
SET default_tablespace = '';
SET default_table_access_method = heap;
CREATE TABLE public.accounts (
    id character varying(36) NOT NULL,
    name text NOT NULL,
    balance bigint NOT NULL,
    held bigint NOT NULL,
    created_at double precision NOT NULL,
    test_of character varying(36),
    bucket_full_at double precision DEFAULT 0 NOT NULL,
    last_turn bigint DEFAULT 0 NOT NULL,
    CONSTRAINT ck_accounts_held CHECK ((held >= 0))
);
CREATE TABLE public.alembic_version (
    version_num character varying(32) NOT NULL
);
CREATE TABLE public.api_keys (
    id character varying(36) NOT NULL,
    account_id character varying(36) NOT NULL,
    name text NOT NULL,
    digest character varying(64) NOT NULL,
    hint character varying(7) NOT NULL,
    models json,
    read_only boolean NOT NULL,
    created_at double precision NOT NULL,
    expires_at double precision,
    revoked_at double precision,
    last_turn bigint NOT NULL,
    old_digest character varying(64),
    old_until double precision,
    spend_cap bigint,
    spent bigint DEFAULT 0 NOT NULL,
    max_pixels bigint,
    rpm integer,
    concurrency integer,
    max_queued integer,
    bucket_full_at double precision DEFAULT 0 NOT NULL,
    test boolean DEFAULT false NOT NULL,
    operator boolean DEFAULT false NOT NULL,
    safety character varying(5),
    self_made boolean DEFAULT false NOT NULL
);
CREATE TABLE public.assets (
    name character varying(40) NOT NULL,
    account_id character varying(36) NOT NULL,
    size bigint NOT NULL,
    expires_at double precision NOT NULL,
    width integer,
    height integer
);
CREATE TABLE public.audit (
    id bigint NOT NULL,
    at double precision NOT NULL,
    last_at double precision NOT NULL,
    times integer DEFAULT 1 NOT NULL,
    act character varying(40) NOT NULL,
    target text NOT NULL,
    account_id character varying(36),
    via character varying(10) NOT NULL,
    who text NOT NULL,
    address text,
    by_account character varying(36),
    by_key character varying(36),
    details json NOT NULL
);
CREATE SEQUENCE public.audit_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.audit_id_seq OWNED BY public.audit.id;
CREATE TABLE public.controls (
    name character varying(20) NOT NULL,
    since double precision NOT NULL
);
CREATE TABLE public.counters (
    key text NOT NULL,
    value double precision NOT NULL
);
CREATE TABLE public.deliveries (
    id character varying(40) NOT NULL,
    webhook_id character varying(36) NOT NULL,
    account_id character varying(36) NOT NULL,
    request_id character varying(36) NOT NULL,
    event text NOT NULL,
    url text NOT NULL,
    receiver text NOT NULL,
    body text NOT NULL,
    status character varying(9) NOT NULL,
    attempt integer NOT NULL,
    earlier integer NOT NULL,
    due_at double precision NOT NULL,
    lease_until double precision,
    created_at double precision NOT NULL,
    ended_at double precision,
    response_status integer,
    error text,
    traceparent character varying(55)
);
CREATE TABLE public.facts (
    name character varying(20) NOT NULL,
    value json NOT NULL
);
CREATE TABLE public.history (
    id character varying(36) NOT NULL,
    account_id character varying(36) NOT NULL,
    slug text NOT NULL,
    params json NOT NULL,
    status character varying(10) NOT NULL,
    cost bigint,
    submitted_at double precision NOT NULL,
    started_at double precision,
    ended_at double precision,
    result json,
    error text
);
CREATE TABLE public.inputs (
    request_id character varying(36) NOT NULL,
    account_id character varying(36) NOT NULL,
    name character varying(40) NOT NULL,
    size bigint NOT NULL,
    width integer,
    height integer
);
CREATE TABLE public.keepers (
    fleet character varying(20) NOT NULL,
    holder text NOT NULL,
    lease_until double precision NOT NULL,
    wanted integer NOT NULL,
    version text DEFAULT ''::text NOT NULL
);
CREATE TABLE public.ledger (
    id bigint NOT NULL,
    account_id character varying(36) NOT NULL,
    key_id character varying(36),
    request_id character varying(36),
    kind character varying(7) NOT NULL,
    balance bigint NOT NULL,
    held bigint NOT NULL,
    note text,
    created_at double precision NOT NULL
);
CREATE SEQUENCE public.ledger_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.ledger_id_seq OWNED BY public.ledger.id;
CREATE TABLE public.outputs (
    name character varying(40) NOT NULL,
    width integer NOT NULL,
    height integer NOT NULL,
    expires_at double precision NOT NULL
);
CREATE TABLE public.paces (
    pace text NOT NULL,
    seconds double precision NOT NULL,
    measured bigint NOT NULL
);
CREATE TABLE public.previews (
    request_id character varying(36) NOT NULL,
    picture integer NOT NULL,
    attempt integer NOT NULL,
    look integer NOT NULL,
    step integer NOT NULL,
    finished boolean NOT NULL,
    jpeg bytea NOT NULL
);
CREATE TABLE public.requests (
    id character varying(36) NOT NULL,
    seq bigint NOT NULL,
    account_id character varying(36) NOT NULL,
    key_id character varying(36) NOT NULL,
    slug text NOT NULL,
    params json NOT NULL,
    price bigint NOT NULL,
    priority integer NOT NULL,
    status character varying(10) NOT NULL,
    attempt integer NOT NULL,
    hand_backs integer NOT NULL,
    worker text,
    lease_until double precision,
    cancel_requested boolean NOT NULL,
    step integer NOT NULL,
    steps integer NOT NULL,
    submitted_at double precision NOT NULL,
    started_at double precision,
    ended_at double precision,
    expires_at double precision,
    result json,
    error text,
    error_status integer,
    rate bigint,
    cost bigint,
    pictures integer DEFAULT 1 NOT NULL,
    cancel_at double precision,
    idempotency_key text,
    fingerprint character varying(64),
    reply json,
    base_url text,
    webhook_url text,
    pace text,
    watched_until double precision,
    test boolean DEFAULT false NOT NULL,
    due_at double precision,
    safety character varying(5) DEFAULT 'off'::character varying NOT NULL,
    traceparent character varying(55),
    error_kind character varying(40),
    CONSTRAINT ck_requests_price CHECK ((price >= 0))
);
CREATE TABLE public.samples (
    at bigint NOT NULL,
    queued integer,
    running integer,
    workers integer,
    memory bigint,
    device_memory bigint,
    forward_passes bigint DEFAULT 0 NOT NULL,
    rows bigint DEFAULT 0 NOT NULL,
    room bigint DEFAULT 0 NOT NULL,
    step_seconds double precision DEFAULT 0 NOT NULL,
    cold_starts integer DEFAULT 0 NOT NULL,
    cold_seconds double precision DEFAULT 0 NOT NULL,
    completed integer DEFAULT 0 NOT NULL,
    failed integer DEFAULT 0 NOT NULL,
    refused integer DEFAULT 0 NOT NULL,
    cancelled integer DEFAULT 0 NOT NULL
);
CREATE TABLE public.servers (
    id text NOT NULL,
    version text NOT NULL,
    models json NOT NULL,
    started_at double precision NOT NULL,
    seen_at double precision NOT NULL,
    left_at double precision
);
CREATE TABLE public.warmups (
    slug text NOT NULL,
    worker text NOT NULL,
    state character varying(10) NOT NULL,
    seconds double precision,
    error text,
    changed_at double precision NOT NULL,
    loaded boolean DEFAULT false NOT NULL
);
CREATE TABLE public.webhooks (
    id character varying(36) NOT NULL,
    account_id character varying(36) NOT NULL,
    url text,
    events json NOT NULL,
    secret text NOT NULL,
    old_secret text,
    old_until double precision,
    created_at double precision NOT NULL,
    succeeded_at double precision,
    disabled_at double precision,
    disabled_reason text,
    removed boolean NOT NULL,
    base_url text
);
CREATE TABLE public.workers (
    id text NOT NULL,
    device text NOT NULL,
    started_at double precision NOT NULL,
    seen_at double precision NOT NULL,
    forward_passes bigint NOT NULL,
    rows bigint NOT NULL,
    step_seconds double precision DEFAULT 0 NOT NULL,
    cold_starts bigint DEFAULT 0 NOT NULL,
    cold_seconds double precision DEFAULT 0 NOT NULL,
    max_rows integer DEFAULT 0 NOT NULL,
    about json,
    drain_at double precision,
    left_at double precision,
    counts json,
    released boolean DEFAULT false NOT NULL,
    version text DEFAULT ''::text NOT NULL
);
ALTER TABLE ONLY public.audit ALTER COLUMN id SET DEFAULT nextval('public.audit_id_seq'::regclass);
ALTER TABLE ONLY public.ledger ALTER COLUMN id SET DEFAULT nextval('public.ledger_id_seq'::regclass);
INSERT INTO public.accounts VALUES
	('ba826bec-4b4c-4669-b4ae-564749414323', 'first', 999880162, 133300, 1796000774.372231, NULL, 0, 15),
	('9641f5e1-bb69-4033-9c55-b5c9b62e674b', 'studio', 24996500, 17500, 1796000788.683087, NULL, 0, 16),
	('a6d24c4d-2ef7-4916-b9d3-901db9187325', 'first (test)', 0, 0, 1796000788.72126, 'ba826bec-4b4c-4669-b4ae-564749414323', 0, 17);
INSERT INTO public.alembic_version VALUES
	('0020');
INSERT INTO public.api_keys VALUES
	('159972bb-dc86-40bd-96b9-b752c143cf1f', 'ba826bec-4b4c-4669-b4ae-564749414323', 'first', 'a90a097d11f1fad5a5801ce43f76968a9d6b19cf966692d5ecad1a00ddf6898f', 'SG_0123', NULL, false, 1796000774.37691, NULL, NULL, 15, NULL, NULL, NULL, 233000, NULL, NULL, NULL, NULL, 0, false, true, NULL, false),
	('093c0d4b-80e8-46b9-85d9-dbc6c3627cea', 'ba826bec-4b4c-4669-b4ae-564749414323', 'laptop', 'db911f44c0e23a007f3d2adb8b2642bfa0c0da34b5a8e95b133b44d60635567c', 'SG_ffae', '["stable-diffusion-3.5-turbo-txt2img", "small-foxes"]', false, 1796000788.77757, NULL, NULL, 7, NULL, NULL, 5000000, 20138, NULL, NULL, NULL, NULL, 0, false, false, NULL, true),
	('f0f78c7e-ed3e-4405-8001-0d73615a6b47', 'ba826bec-4b4c-4669-b4ae-564749414323', 'reader', 'faff8b7dd8e49e57c565dff84c0af2182d279ac88a7753d457556d2f747745e0', 'SG_548f', '["stable-diffusion-3.5-turbo-txt2img", "sd1.5-img2img"]', true, 1796000788.751096, 2111360788.747584, NULL, 0, NULL, NULL, NULL, 0, NULL, NULL, NULL, NULL, 0, false, false, NULL, false),
	('aaffaf60-3e57-4946-bf7e-6d011806949d', 'ba826bec-4b4c-4669-b4ae-564749414323', 'rotated', '2097be443b39cc1fa444f30a168c2e8cfc526c08732a0c08b62d71189a2ab18c', 'SG_5fcb', NULL, false, 1796000788.905949, NULL, NULL, 0, '432119f9344f6ca2901fd7e0cd68eae0840c78c3440b3392dbe9b35fdb98afc1', 1796087188.926163, NULL, 0, NULL, NULL, NULL, NULL, 0, false, false, NULL, false),
	('8ed89f83-b6cb-4581-8b11-56de9b81a069', 'ba826bec-4b4c-4669-b4ae-564749414323', 'revoked', '4a4908d9856feba79c9b93760635661c1a081355db19ec6e25d30a9fc0825d1c', 'SG_9b63', NULL, false, 1796000788.95019, NULL, 1796000788.96877, 0, NULL, NULL, NULL, 0, NULL, NULL, NULL, NULL, 0, false, false, NULL, false),
	('390f6e54-4ad5-432e-9b29-62d15edf22c9', '9641f5e1-bb69-4033-9c55-b5c9b62e674b', 'studio', '65f101894a674f389e4c8bdc05342deb3ef984f4ace79254dbcc7f7e2588d78c', 'SG_89c1', NULL, false, 1796000788.703294, NULL, NULL, 16, NULL, NULL, 20000000, 21000, 4000000, 600, NULL, NULL, 1796000795.108291, false, false, NULL, false),
	('0cc5a3f2-36ac-47ac-b12f-49364302f8b6', 'a6d24c4d-2ef7-4916-b9d3-901db9187325', 'test', '6b37ff15f387d90291579ab225a615d9238046eab171b9f28b201d68e79b3d1b', 'SG_6c28', NULL, false, 1796000788.728591, NULL, NULL, 17, NULL, NULL, NULL, 0, NULL, NULL, NULL, NULL, 0, true, false, NULL, false);
INSERT INTO public.assets VALUES
	('23d0c931d1ff8b1c8a268b0af512e543.png', 'ba826bec-4b4c-4669-b4ae-564749414323', 367, 1796605592.012786, 128, 128);
INSERT INTO public.audit VALUES
	(1, 1796000774.341466, 1796000774.341466, 1, 'database.migrate', '0020', NULL, 'cli', 'root@tintype.example', NULL, NULL, NULL, '{}'),
	(2, 1796000774.374453, 1796000774.374453, 1, 'account.create', 'ba826bec-4b4c-4669-b4ae-564749414323', 'ba826bec-4b4c-4669-b4ae-564749414323', 'cli', 'root@tintype.example', NULL, NULL, NULL, '{"name": "first", "dollars": 1000.0}'),
	(3, 1796000774.37745, 1796000774.37745, 1, 'key.create', '159972bb-dc86-40bd-96b9-b752c143cf1f', 'ba826bec-4b4c-4669-b4ae-564749414323', 'cli', 'root@tintype.example', NULL, NULL, NULL, '{"key": "SG_0123\u2026", "name": "first", "operator": true}'),
	(4, 1796000788.685442, 1796000788.685442, 1, 'account.create', '9641f5e1-bb69-4033-9c55-b5c9b62e674b', '9641f5e1-bb69-4033-9c55-b5c9b62e674b', 'cli', 'root@tintype.example', NULL, NULL, NULL, '{"name": "studio", "dollars": 25.0}'),
	(5, 1796000788.704014, 1796000788.704014, 1, 'key.create', '390f6e54-4ad5-432e-9b29-62d15edf22c9', '9641f5e1-bb69-4033-9c55-b5c9b62e674b', 'cli', 'root@tintype.example', NULL, NULL, NULL, '{"key": "SG_89c1\u2026", "name": "studio", "max_pixels": 4000000, "rpm": 600, "spend_cap": 20.0}'),
	(6, 1796000788.721602, 1796000788.721602, 1, 'account.create', 'a6d24c4d-2ef7-4916-b9d3-901db9187325', 'a6d24c4d-2ef7-4916-b9d3-901db9187325', 'cli', 'root@tintype.example', NULL, NULL, NULL, '{"name": "first (test)", "test_of": "ba826bec-4b4c-4669-b4ae-564749414323"}'),
	(7, 1796000788.729109, 1796000788.729109, 1, 'key.create', '0cc5a3f2-36ac-47ac-b12f-49364302f8b6', 'a6d24c4d-2ef7-4916-b9d3-901db9187325', 'cli', 'root@tintype.example', NULL, NULL, NULL, '{"key": "SG_test6c28\u2026", "name": "test", "test": true}'),
	(8, 1796000788.751628, 1796000788.751628, 1, 'key.create', 'f0f78c7e-ed3e-4405-8001-0d73615a6b47', 'ba826bec-4b4c-4669-b4ae-564749414323', 'cli', 'root@tintype.example', NULL, NULL, NULL, '{"key": "SG_548f\u2026", "name": "reader", "read_only": true, "expires_at": 2111360788.747584, "models": ["stable-diffusion-3.5-turbo-txt2img", "sd1.5-img2img"]}'),
	(9, 1796000788.779648, 1796000788.779648, 1, 'key.create', '093c0d4b-80e8-46b9-85d9-dbc6c3627cea', 'ba826bec-4b4c-4669-b4ae-564749414323', 'api', 'first SG_0123…', '127.0.0.1', 'ba826bec-4b4c-4669-b4ae-564749414323', '159972bb-dc86-40bd-96b9-b752c143cf1f', '{"key": "SG_ffae\u2026", "name": "laptop", "models": ["stable-diffusion-3.5-turbo-txt2img", "small-foxes"], "spend_cap": 5.0}'),
	(10, 1796000788.906636, 1796000788.906636, 1, 'key.create', 'aaffaf60-3e57-4946-bf7e-6d011806949d', 'ba826bec-4b4c-4669-b4ae-564749414323', 'cli', 'root@tintype.example', NULL, NULL, NULL, '{"key": "SG_91e1\u2026", "name": "rotated"}'),
	(11, 1796000788.928141, 1796000788.928141, 1, 'key.rotate', 'aaffaf60-3e57-4946-bf7e-6d011806949d', 'ba826bec-4b4c-4669-b4ae-564749414323', 'cli', 'root@tintype.example', NULL, NULL, NULL, '{"key": "SG_5fcb\u2026", "name": "rotated", "was": "SG_91e1\u2026", "overlap": 86400.0}'),
	(12, 1796000788.950888, 1796000788.950888, 1, 'key.create', '8ed89f83-b6cb-4581-8b11-56de9b81a069', 'ba826bec-4b4c-4669-b4ae-564749414323', 'cli', 'root@tintype.example', NULL, NULL, NULL, '{"key": "SG_9b63\u2026", "name": "revoked"}'),
	(13, 1796000788.966978, 1796000788.966978, 1, 'key.revoke', '8ed89f83-b6cb-4581-8b11-56de9b81a069', 'ba826bec-4b4c-4669-b4ae-564749414323', 'cli', 'root@tintype.example', NULL, NULL, NULL, '{"key": "SG_9b63\u2026", "name": "revoked"}'),
	(14, 1796000788.97672, 1796000788.97672, 1, 'webhook.add', 'cf6878ac-982e-4ef3-ac7c-d05c6790eb2c', 'ba826bec-4b4c-4669-b4ae-564749414323', 'api', 'first SG_0123…', '127.0.0.1', 'ba826bec-4b4c-4669-b4ae-564749414323', '159972bb-dc86-40bd-96b9-b752c143cf1f', '{"receiver": "http://127.0.0.1:34351", "events": ["REQUEST_COMPLETED", "REQUEST_FAILED"]}'),
	(15, 1796000793.533082, 1796000793.533082, 1, 'queue.pause', 'queue', NULL, 'api', 'first SG_0123…', '127.0.0.1', 'ba826bec-4b4c-4669-b4ae-564749414323', '159972bb-dc86-40bd-96b9-b752c143cf1f', '{}'),
	(16, 1796000794.413867, 1796000794.413867, 1, 'queue.resume', 'queue', NULL, 'api', 'first SG_0123…', '127.0.0.1', 'ba826bec-4b4c-4669-b4ae-564749414323', '159972bb-dc86-40bd-96b9-b752c143cf1f', '{}'),
	(17, 1796000794.928143, 1796000794.928143, 1, 'queue.pause', 'queue', NULL, 'api', 'first SG_0123…', '127.0.0.1', 'ba826bec-4b4c-4669-b4ae-564749414323', '159972bb-dc86-40bd-96b9-b752c143cf1f', '{}'),
	(18, 1796000795.001746, 1796000795.001746, 1, 'webhook.add', '465b3acd-576f-4dec-b9a4-31d14fc0759f', '9641f5e1-bb69-4033-9c55-b5c9b62e674b', 'api', 'studio SG_89c1…', '127.0.0.1', '9641f5e1-bb69-4033-9c55-b5c9b62e674b', '390f6e54-4ad5-432e-9b29-62d15edf22c9', '{"receiver": "as X-Webhook-URL says", "events": ["REQUEST_COMPLETED", "REQUEST_FAILED"]}');
INSERT INTO public.controls VALUES
	('pause', 1796000794.927948);
INSERT INTO public.counters VALUES
	('charged/stable-diffusion-3.5-turbo-txt2img', 28000),
	('stage_runs/sd1.5-img2img/queue', 2),
	('stage_runs/small-foxes/decode', 1),
	('stage_runs/small-foxes/deliver', 1),
	('stage_runs/small-foxes/denoise', 1),
	('charged/sd3-med-img2img', 15200),
	('charges/sd3-med-img2img', 1),
	('ended/sd3-med-img2img/completed', 1),
	('charged/stable-diffusion-3-turbo-img2img', 80000),
	('charges/stable-diffusion-3-turbo-img2img', 1),
	('ended/stable-diffusion-3-turbo-img2img/completed', 1),
	('charges/stable-diffusion-3.5-turbo-txt2img', 5),
	('ended/stable-diffusion-3.5-turbo-txt2img/completed', 5),
	('forward_passes', 34),
	('prompt_cache/hit', 8),
	('cold_seconds', 7.034403984995151),
	('cold_starts', 10),
	('prompt_cache/miss', 11),
	('charged/small-foxes', 138),
	('charges/small-foxes', 1),
	('ended/small-foxes/completed', 1),
	('stage_seconds/stable-diffusion-3.5-turbo-txt2img/decode', 0.09185105600045063),
	('stage_seconds/stable-diffusion-3.5-turbo-txt2img/deliver', 0.22568756900000153),
	('stage_seconds/stable-diffusion-3.5-turbo-txt2img/denoise', 0.37816452900733566),
	('ended/sd1.5-img2img/refused', 2),
	('stage_runs/stable-diffusion-3.5-turbo-txt2img/load', 6),
	('stage_runs/sd1.5-img2img/fetch', 2),
	('stage_seconds/stable-diffusion-3.5-turbo-txt2img/load', 6.73179769899798),
	('stage_seconds/sd1.5-img2img/fetch', 0.011166718002641574),
	('stage_seconds/sd1.5-img2img/queue', 0.018682003021240234),
	('stage_seconds/small-foxes/decode', 0.007942740001453785),
	('stage_seconds/small-foxes/deliver', 0.012956654998561135),
	('stage_seconds/small-foxes/denoise', 0.10616856699925847),
	('stage_runs/sd3-med-img2img/fetch', 1),
	('stage_runs/sd3-med-img2img/queue', 1),
	('room', 544),
	('rows', 81),
	('stage_runs/stable-diffusion-3.5-turbo-txt2img/decode', 8),
	('stage_runs/stable-diffusion-3.5-turbo-txt2img/deliver', 5),
	('stage_runs/stable-diffusion-3.5-turbo-txt2img/denoise', 8),
	('stage_runs/stable-diffusion-3.5-turbo-txt2img/encode', 6),
	('stage_seconds/sd3-med-img2img/fetch', 0.05474936999962665),
	('stage_seconds/sd3-med-img2img/queue', 0.007092952728271484),
	('stage_runs/stable-diffusion-3.5-turbo-txt2img/fetch', 6),
	('stage_runs/stable-diffusion-3.5-turbo-txt2img/queue', 6),
	('stage_seconds/stable-diffusion-3.5-turbo-txt2img/encode', 0.044265665997954784),
	('stage_seconds/stable-diffusion-3.5-turbo-txt2img/fetch', 0.00012979200255358592),
	('stage_seconds/stable-diffusion-3.5-turbo-txt2img/queue', 0.08006119728088379),
	('step_seconds', 0.5509718379944388),
	('transaction_seconds/transaction', 0.7825772949909151),
	('stage_runs/sd3-med-img2img/decode', 2),
	('stage_runs/sd3-med-img2img/deliver', 1),
	('stage_runs/sd3-med-img2img/denoise', 2),
	('stage_runs/sd3-med-img2img/encode', 1),
	('stage_runs/sd3-med-img2img/load', 2),
	('stage_runs/small-foxes/encode', 1),
	('stage_runs/small-foxes/fetch', 1),
	('stage_runs/small-foxes/load', 2),
	('stage_runs/small-foxes/queue', 1),
	('stage_runs/stable-diffusion-3-turbo-img2img/decode', 1),
	('stage_runs/stable-diffusion-3-turbo-img2img/deliver', 1),
	('stage_runs/stable-diffusion-3-turbo-img2img/denoise', 1),
	('stage_runs/stable-diffusion-3-turbo-img2img/encode', 1),
	('stage_runs/stable-diffusion-3-turbo-img2img/fetch', 1),
	('stage_runs/stable-diffusion-3-turbo-img2img/queue', 1),
	('stage_seconds/sd3-med-img2img/decode', 0.017388736003340455),
	('stage_seconds/sd3-med-img2img/deliver', 0.019121044002531562),
	('stage_seconds/sd3-med-img2img/denoise', 0.19846327200502856),
	('stage_seconds/sd3-med-img2img/encode', 0.025683456999104237),
	('stage_seconds/sd3-med-img2img/load', 0.18870489099936094),
	('stage_seconds/small-foxes/encode', 0.01979467799901613),
	('stage_seconds/small-foxes/fetch', 0.005420159999630414),
	('stage_seconds/small-foxes/load', 0.11390139499781071),
	('stage_seconds/small-foxes/queue', 0.00851893424987793),
	('stage_seconds/stable-diffusion-3-turbo-img2img/decode', 0.008382986998185515),
	('stage_seconds/stable-diffusion-3-turbo-img2img/deliver', 0.013069644002825953),
	('stage_seconds/stable-diffusion-3-turbo-img2img/denoise', 0.04224863099807408),
	('stage_seconds/stable-diffusion-3-turbo-img2img/encode', 0.01127372200062382),
	('stage_seconds/stable-diffusion-3-turbo-img2img/fetch', 0.0041429760021856055),
	('stage_seconds/stable-diffusion-3-turbo-img2img/queue', 0.010071992874145508),
	('ended/stable-diffusion-3.5-turbo-txt2img/cancelled', 2),
	('transaction_seconds/wait', 0.21347425297426526),
	('transactions', 144);
INSERT INTO public.deliveries VALUES
	('msg_1bbbb58dff594806b9e66ac9487d9a9d', 'cf6878ac-982e-4ef3-ac7c-d05c6790eb2c', 'ba826bec-4b4c-4669-b4ae-564749414323', 'e8d443eb-cdac-4fcf-a8b0-93c88d9f6b6c', 'REQUEST_COMPLETED', 'http://127.0.0.1:34351/hook', 'http://127.0.0.1:34351', '{"type": "REQUEST_COMPLETED", "timestamp": "2026-11-30T01:06:32.571825+00:00", "data": {"request_id": "e8d443eb-cdac-4fcf-a8b0-93c88d9f6b6c", "model": "stable-diffusion-3-turbo-img2img", "status": "COMPLETED", "output": "http://127.0.0.1:39767/files/4b7d2be316c4e3ea1216deb9a8c34ff5.png", "images": [{"url": "http://127.0.0.1:39767/files/4b7d2be316c4e3ea1216deb9a8c34ff5.png", "seed": "1694743137"}], "metrics": {"cost": 0.08, "inference_time": 0.0654}, "error": null, "status_url": "http://127.0.0.1:39767/v2/requests/e8d443eb-cdac-4fcf-a8b0-93c88d9f6b6c/status", "response_url": "http://127.0.0.1:39767/v2/requests/e8d443eb-cdac-4fcf-a8b0-93c88d9f6b6c"}}', 'DELIVERED', 1, 0, 1796000792.571825, NULL, 1796000792.571825, 1796000792.830196, 204, NULL, NULL),
	('msg_c85557f2ddfe43768e5a9eb416404feb', 'cf6878ac-982e-4ef3-ac7c-d05c6790eb2c', 'ba826bec-4b4c-4669-b4ae-564749414323', '56b44264-8162-473e-94fd-1cbf7addbc61', 'REQUEST_COMPLETED', 'http://127.0.0.1:34351/hook', 'http://127.0.0.1:34351', '{"type": "REQUEST_COMPLETED", "timestamp": "2026-11-30T01:06:31.686793+00:00", "data": {"request_id": "56b44264-8162-473e-94fd-1cbf7addbc61", "model": "stable-diffusion-3.5-turbo-txt2img", "status": "COMPLETED", "output": "http://127.0.0.1:39767/files/4e04ea7f0b62b83325fed03a1c232aab.jpeg", "images": [{"url": "http://127.0.0.1:39767/files/4e04ea7f0b62b83325fed03a1c232aab.jpeg", "seed": "7"}, {"url": "http://127.0.0.1:39767/files/78a117cd82d6ab2bb091dd8820d34f32.jpeg", "seed": "8"}, {"url": "http://127.0.0.1:39767/files/a2f7f75035d8c0472ea12608706f84f4.jpeg", "seed": "9"}], "metrics": {"cost": 0.0105, "inference_time": 0.1018}, "warnings": ["prompt: the model reads the first 22 of its 48 tokens; what comes after them made no difference"], "error": null, "status_url": "http://127.0.0.1:39767/v2/requests/56b44264-8162-473e-94fd-1cbf7addbc61/status", "response_url": "http://127.0.0.1:39767/v2/requests/56b44264-8162-473e-94fd-1cbf7addbc61"}}', 'DELIVERED', 1, 0, 1796000791.686793, NULL, 1796000791.686793, 1796000791.80549, 204, NULL, NULL),
	('msg_26fcf36549d641bda38618c917eb885d', 'cf6878ac-982e-4ef3-ac7c-d05c6790eb2c', 'ba826bec-4b4c-4669-b4ae-564749414323', 'ef6297a1-0c0b-465f-ad95-8516c69593ca', 'REQUEST_COMPLETED', 'http://127.0.0.1:34351/hook', 'http://127.0.0.1:34351', '{"type": "REQUEST_COMPLETED", "timestamp": "2026-11-30T01:06:31.986669+00:00", "data": {"request_id": "ef6297a1-0c0b-465f-ad95-8516c69593ca", "model": "stable-diffusion-3.5-turbo-txt2img", "status": "COMPLETED", "output": "http://127.0.0.1:39767/files/1c605ea4dbb898d1bc9629e3e0243462.jpeg", "images": [{"url": "http://127.0.0.1:39767/files/1c605ea4dbb898d1bc9629e3e0243462.jpeg", "seed": "98552302"}], "metrics": {"cost": 0.0035, "inference_time": 0.1172}, "error": null, "status_url": "http://127.0.0.1:39767/v2/requests/ef6297a1-0c0b-465f-ad95-8516c69593ca/status", "response_url": "http://127.0.0.1:39767/v2/requests/ef6297a1-0c0b-465f-ad95-8516c69593ca"}}', 'DELIVERED', 1, 0, 1796000791.986669, NULL, 1796000791.986669, 1796000792.057704, 204, NULL, NULL),
	('msg_ca61ccce2463413e8c0561fb549fd81e', 'cf6878ac-982e-4ef3-ac7c-d05c6790eb2c', 'ba826bec-4b4c-4669-b4ae-564749414323', 'ecd46afa-1e60-4ff6-9a64-a98d7aa62018', 'REQUEST_COMPLETED', 'http://127.0.0.1:34351/hook', 'http://127.0.0.1:34351', '{"type": "REQUEST_COMPLETED", "timestamp": "2026-11-30T01:06:32.436874+00:00", "data": {"request_id": "ecd46afa-1e60-4ff6-9a64-a98d7aa62018", "model": "sd3-med-img2img", "status": "COMPLETED", "output": "http://127.0.0.1:39767/files/377abfe6654bcc8702ec2ccd53726444.jpeg", "images": [{"url": "http://127.0.0.1:39767/files/377abfe6654bcc8702ec2ccd53726444.jpeg", "seed": "1152921504606846976"}, {"url": "http://127.0.0.1:39767/files/a981ad037aef077edbe4bed2536e903f.jpeg", "seed": "1152921504606846977"}], "metrics": {"cost": 0.0152, "inference_time": 0.1487}, "error": null, "status_url": "http://127.0.0.1:39767/v2/requests/ecd46afa-1e60-4ff6-9a64-a98d7aa62018/status", "response_url": "http://127.0.0.1:39767/v2/requests/ecd46afa-1e60-4ff6-9a64-a98d7aa62018"}}', 'DELIVERED', 1, 0, 1796000792.436874, NULL, 1796000792.436874, 1796000792.578868, 204, NULL, NULL),
	('msg_51dba27bbf9f484bb528dec45004bd3e', 'cf6878ac-982e-4ef3-ac7c-d05c6790eb2c', 'ba826bec-4b4c-4669-b4ae-564749414323', '3f334ac0-f78f-4bb6-b822-a6fc24ce2435', 'REQUEST_COMPLETED', 'http://127.0.0.1:34351/hook', 'http://127.0.0.1:34351', '{"type": "REQUEST_COMPLETED", "timestamp": "2026-11-30T01:06:32.878866+00:00", "data": {"request_id": "3f334ac0-f78f-4bb6-b822-a6fc24ce2435", "model": "small-foxes", "status": "COMPLETED", "output": "http://127.0.0.1:39767/files/d5050d41b67cc4b36a2a7f3106742d46.jpeg", "images": [{"url": "http://127.0.0.1:39767/files/d5050d41b67cc4b36a2a7f3106742d46.jpeg", "seed": "937582747"}], "metrics": {"cost": 0.000138, "inference_time": 0.1375}, "error": null, "status_url": "http://127.0.0.1:39767/v2/requests/3f334ac0-f78f-4bb6-b822-a6fc24ce2435/status", "response_url": "http://127.0.0.1:39767/v2/requests/3f334ac0-f78f-4bb6-b822-a6fc24ce2435"}}', 'DELIVERED', 1, 0, 1796000792.878866, NULL, 1796000792.878866, 1796000793.086321, 204, NULL, NULL),
	('msg_c480e8f24f0c43719a39ac513792d151', 'cf6878ac-982e-4ef3-ac7c-d05c6790eb2c', 'ba826bec-4b4c-4669-b4ae-564749414323', '6c4a068f-1bb1-48ef-b946-8308a346ef3b', 'REQUEST_COMPLETED', 'http://127.0.0.1:34351/hook', 'http://127.0.0.1:34351', '{"type": "REQUEST_COMPLETED", "timestamp": "2026-11-30T01:06:34.462337+00:00", "data": {"request_id": "6c4a068f-1bb1-48ef-b946-8308a346ef3b", "model": "stable-diffusion-3.5-turbo-txt2img", "status": "COMPLETED", "output": "http://127.0.0.1:39767/files/501117e5e6663baa73dcc83b6c69ea1c.jpeg", "images": [{"url": "http://127.0.0.1:39767/files/501117e5e6663baa73dcc83b6c69ea1c.jpeg", "seed": "98552302"}], "metrics": {"cost": 0.0035, "inference_time": 0.0231}, "error": null, "status_url": "http://127.0.0.1:39767/v2/requests/6c4a068f-1bb1-48ef-b946-8308a346ef3b/status", "response_url": "http://127.0.0.1:39767/v2/requests/6c4a068f-1bb1-48ef-b946-8308a346ef3b"}}', 'PENDING', 1, 0, 1796000814.4717557, NULL, 1796000794.462337, NULL, 503, 'HTTP status 503', NULL),
	('msg_53d9d07989f741f698323a8859feafca', 'cf6878ac-982e-4ef3-ac7c-d05c6790eb2c', 'ba826bec-4b4c-4669-b4ae-564749414323', 'e68ba800-4e00-471d-9499-66072d6cc611', 'REQUEST_FAILED', 'http://127.0.0.1:34351/hook', 'http://127.0.0.1:34351', '{"type": "REQUEST_FAILED", "timestamp": "2026-11-30T01:06:33.204119+00:00", "data": {"request_id": "e68ba800-4e00-471d-9499-66072d6cc611", "model": "sd1.5-img2img", "status": "FAILED", "error": "127.0.0.1: not a public address", "status_url": "http://127.0.0.1:39767/v2/requests/e68ba800-4e00-471d-9499-66072d6cc611/status", "response_url": "http://127.0.0.1:39767/v2/requests/e68ba800-4e00-471d-9499-66072d6cc611"}}', 'DELIVERED', 1, 0, 1796000793.204119, NULL, 1796000793.204119, 1796000793.34692, 204, NULL, NULL),
	('msg_0be7c07502254d29a1614e3e783a58c8', 'cf6878ac-982e-4ef3-ac7c-d05c6790eb2c', 'ba826bec-4b4c-4669-b4ae-564749414323', '95412453-45bf-4999-b7ed-b03876ae1499', 'REQUEST_FAILED', 'http://127.0.0.1:34351/hook', 'http://127.0.0.1:34351', '{"type": "REQUEST_FAILED", "timestamp": "2026-11-30T01:06:34.355545+00:00", "data": {"request_id": "95412453-45bf-4999-b7ed-b03876ae1499", "model": "stable-diffusion-3.5-turbo-txt2img", "status": "FAILED", "error": "cancelled", "status_url": "http://127.0.0.1:39767/v2/requests/95412453-45bf-4999-b7ed-b03876ae1499/status", "response_url": "http://127.0.0.1:39767/v2/requests/95412453-45bf-4999-b7ed-b03876ae1499"}}', 'PENDING', 1, 0, 1796000813.2875972, NULL, 1796000794.355545, NULL, 503, 'HTTP status 503', NULL);
INSERT INTO public.facts VALUES
	('schema', '{"version": "0.1.0"}'),
	('storage', '{"id": "62b9bf4eead6f602df695f35c65aa7de", "kind": "folder", "place": "the folder /tmp/tintype-upgrade-gk30iubr/postgres on tintype.example"}');
INSERT INTO public.history VALUES
	('ba07a6d2-372f-4ec3-8748-fdaf45b4d789', 'ba826bec-4b4c-4669-b4ae-564749414323', 'sd1.5-img2img', '{"image": "http://127.0.0.1:9/fox.png", "prompt": "an old fox", "negative_prompt": "", "samples": 1, "scheduler": "DDIM", "num_inference_steps": 20, "guidance_scale": 7.5, "strength": 1, "seed": 3978729050, "img_width": 512, "img_height": 512, "base64": false, "exact": false}', 'FAILED', NULL, 1796000781.600898, 1796000781.611913, 1796000781.631418, NULL, '127.0.0.1: not a public address'),
	('4aa96715-a79d-4b72-8395-67b104dd998c', 'ba826bec-4b4c-4669-b4ae-564749414323', 'stable-diffusion-3.5-turbo-txt2img', '{"prompt": "an old fox", "negative_prompt": "low quality, blurry", "sampler": "dpmpp_2m", "scheduler": "sgm_uniform", "steps": 2, "guidance_scale": 1, "seed": 1, "width": 128, "height": 128, "aspect_ratio": "custom", "batch_size": 2, "image_format": "jpeg", "image_quality": 95, "base64": false, "exact": false}', 'COMPLETED', 7000, 1796000777.068069, 1796000777.107631, 1796000781.50084, '{"pictures": [{"name": "c34ee2579e2d40befa809932626d969a.jpeg", "size": 7053, "width": 128, "height": 128, "seed": 1}, {"name": "ee39bbc6fc3f1a52a522d102f682d6de.jpeg", "size": 6864, "width": 128, "height": 128, "seed": 2}], "format": "jpeg", "seed": 1, "recipe": {"model": "stable-diffusion-3.5-turbo-txt2img", "order": {"prompt": "an old fox", "negative_prompt": "low quality, blurry", "image": "", "steps": 2, "guidance": 1, "strength": 1.0, "seed": 1, "count": 1, "width": 128, "height": 128, "sampler": "dpmpp_2m", "schedule": "sgm_uniform", "format": "jpeg", "quality": 95, "base64": false, "exact": false, "loras": ""}, "weights": "80f71c14c492ae6b879f4712", "dtype": "bfloat16", "t5_tokens": 1, "source": "", "version": "0.1.0"}, "inference_time": 0.1768, "weights": "built-in", "cold_start": 4.1665}', NULL);
INSERT INTO public.inputs VALUES
	('50887a81-176b-45e5-b89d-cb4055dac5f9', 'ba826bec-4b4c-4669-b4ae-564749414323', '34dedcffc7fe9e176c615d93a429d0da.in', 367, 128, 128),
	('8dcdd2a6-a4e7-4711-a47a-4c3ab1d6ef95', 'ba826bec-4b4c-4669-b4ae-564749414323', '23d0c931d1ff8b1c8a268b0af512e543.png', 0, 128, 128),
	('ed376e1c-d1ff-40f0-8be9-e5dd6330529e', 'ba826bec-4b4c-4669-b4ae-564749414323', '4ceefe30c0d58d7a833acdad90d69853.in', 367, 128, 128);
INSERT INTO public.ledger VALUES
	(1, 'ba826bec-4b4c-4669-b4ae-564749414323', NULL, NULL, 'grant', 1000000000, 0, NULL, 1796000774.373087),
	(2, 'ba826bec-4b4c-4669-b4ae-564749414323', '159972bb-dc86-40bd-96b9-b752c143cf1f', '4aa96715-a79d-4b72-8395-67b104dd998c', 'hold', 0, 7000, NULL, 1796000777.087005),
	(3, 'ba826bec-4b4c-4669-b4ae-564749414323', '159972bb-dc86-40bd-96b9-b752c143cf1f', '4aa96715-a79d-4b72-8395-67b104dd998c', 'settle', -7000, -7000, NULL, 1796000781.502198),
	(4, 'ba826bec-4b4c-4669-b4ae-564749414323', '159972bb-dc86-40bd-96b9-b752c143cf1f', 'ba07a6d2-372f-4ec3-8748-fdaf45b4d789', 'hold', 0, 3700, NULL, 1796000781.605549),
	(5, 'ba826bec-4b4c-4669-b4ae-564749414323', '159972bb-dc86-40bd-96b9-b752c143cf1f', 'ba07a6d2-372f-4ec3-8748-fdaf45b4d789', 'release', 0, -3700, NULL, 1796000781.631745),
	(6, '9641f5e1-bb69-4033-9c55-b5c9b62e674b', NULL, NULL, 'grant', 25000000, 0, NULL, 1796000788.684049),
	(7, 'ba826bec-4b4c-4669-b4ae-564749414323', '159972bb-dc86-40bd-96b9-b752c143cf1f', '56b44264-8162-473e-94fd-1cbf7addbc61', 'hold', 0, 10500, NULL, 1796000788.994621),
	(8, 'ba826bec-4b4c-4669-b4ae-564749414323', '159972bb-dc86-40bd-96b9-b752c143cf1f', '56b44264-8162-473e-94fd-1cbf7addbc61', 'settle', -10500, -10500, NULL, 1796000791.68789),
	(9, 'ba826bec-4b4c-4669-b4ae-564749414323', '159972bb-dc86-40bd-96b9-b752c143cf1f', 'ef6297a1-0c0b-465f-ad95-8516c69593ca', 'hold', 0, 3500, NULL, 1796000791.84935),
	(10, 'ba826bec-4b4c-4669-b4ae-564749414323', '159972bb-dc86-40bd-96b9-b752c143cf1f', 'ef6297a1-0c0b-465f-ad95-8516c69593ca', 'settle', -3500, -3500, NULL, 1796000791.987073),
	(11, 'ba826bec-4b4c-4669-b4ae-564749414323', '159972bb-dc86-40bd-96b9-b752c143cf1f', 'ecd46afa-1e60-4ff6-9a64-a98d7aa62018', 'hold', 0, 15200, NULL, 1796000792.024824),
	(12, 'ba826bec-4b4c-4669-b4ae-564749414323', '159972bb-dc86-40bd-96b9-b752c143cf1f', 'ecd46afa-1e60-4ff6-9a64-a98d7aa62018', 'settle', -15200, -15200, NULL, 1796000792.437508),
	(13, 'ba826bec-4b4c-4669-b4ae-564749414323', '159972bb-dc86-40bd-96b9-b752c143cf1f', 'e8d443eb-cdac-4fcf-a8b0-93c88d9f6b6c', 'hold', 0, 80000, NULL, 1796000792.481257),
	(14, 'ba826bec-4b4c-4669-b4ae-564749414323', '159972bb-dc86-40bd-96b9-b752c143cf1f', 'e8d443eb-cdac-4fcf-a8b0-93c88d9f6b6c', 'settle', -80000, -80000, NULL, 1796000792.572228),
	(15, 'ba826bec-4b4c-4669-b4ae-564749414323', '093c0d4b-80e8-46b9-85d9-dbc6c3627cea', '3f334ac0-f78f-4bb6-b822-a6fc24ce2435', 'hold', 0, 20000, NULL, 1796000792.600216),
	(16, 'ba826bec-4b4c-4669-b4ae-564749414323', '093c0d4b-80e8-46b9-85d9-dbc6c3627cea', '3f334ac0-f78f-4bb6-b822-a6fc24ce2435', 'settle', -138, -20000, NULL, 1796000792.879206),
	(17, '9641f5e1-bb69-4033-9c55-b5c9b62e674b', '390f6e54-4ad5-432e-9b29-62d15edf22c9', '8b5f8d9e-e21c-4431-966d-c27eed650720', 'hold', 0, 3500, NULL, 1796000792.911122),
	(18, '9641f5e1-bb69-4033-9c55-b5c9b62e674b', '390f6e54-4ad5-432e-9b29-62d15edf22c9', '8b5f8d9e-e21c-4431-966d-c27eed650720', 'settle', -3500, -3500, NULL, 1796000792.99547),
	(19, 'ba826bec-4b4c-4669-b4ae-564749414323', '159972bb-dc86-40bd-96b9-b752c143cf1f', 'e68ba800-4e00-471d-9499-66072d6cc611', 'hold', 0, 3700, NULL, 1796000793.182322),
	(20, 'ba826bec-4b4c-4669-b4ae-564749414323', '159972bb-dc86-40bd-96b9-b752c143cf1f', 'e68ba800-4e00-471d-9499-66072d6cc611', 'release', 0, -3700, NULL, 1796000793.204488),
	(21, '9641f5e1-bb69-4033-9c55-b5c9b62e674b', '390f6e54-4ad5-432e-9b29-62d15edf22c9', '674522d1-3203-4054-841f-c71d52323f81', 'hold', 0, 7000, NULL, 1796000793.542204),
	(22, '9641f5e1-bb69-4033-9c55-b5c9b62e674b', '390f6e54-4ad5-432e-9b29-62d15edf22c9', '674522d1-3203-4054-841f-c71d52323f81', 'release', 0, -7000, NULL, 1796000793.548553),
	(23, 'ba826bec-4b4c-4669-b4ae-564749414323', '159972bb-dc86-40bd-96b9-b752c143cf1f', '95412453-45bf-4999-b7ed-b03876ae1499', 'hold', 0, 3500, NULL, 1796000793.563329),
	(24, 'ba826bec-4b4c-4669-b4ae-564749414323', '159972bb-dc86-40bd-96b9-b752c143cf1f', '95412453-45bf-4999-b7ed-b03876ae1499', 'release', 0, -3500, NULL, 1796000794.355953),
	(25, 'ba826bec-4b4c-4669-b4ae-564749414323', '159972bb-dc86-40bd-96b9-b752c143cf1f', '6c4a068f-1bb1-48ef-b946-8308a346ef3b', 'hold', 0, 3500, NULL, 1796000794.426504),
	(26, 'ba826bec-4b4c-4669-b4ae-564749414323', '159972bb-dc86-40bd-96b9-b752c143cf1f', '6c4a068f-1bb1-48ef-b946-8308a346ef3b', 'settle', -3500, -3500, NULL, 1796000794.462976),
	(27, '9641f5e1-bb69-4033-9c55-b5c9b62e674b', '390f6e54-4ad5-432e-9b29-62d15edf22c9', 'a7ba0efc-6903-4e9a-8323-a0cecead4dae', 'hold', 0, 14000, NULL, 1796000794.626218),
	(28, 'ba826bec-4b4c-4669-b4ae-564749414323', '159972bb-dc86-40bd-96b9-b752c143cf1f', 'c368bba6-42ad-4072-9de4-8cd9136c96f5', 'hold', 0, 7400, NULL, 1796000794.937117),
	(29, 'ba826bec-4b4c-4669-b4ae-564749414323', '159972bb-dc86-40bd-96b9-b752c143cf1f', '759881de-a24d-4bc7-a61d-d0eebd3cb19a', 'hold', 0, 3700, NULL, 1796000794.946772),
	(30, 'ba826bec-4b4c-4669-b4ae-564749414323', '159972bb-dc86-40bd-96b9-b752c143cf1f', '50887a81-176b-45e5-b89d-cb4055dac5f9', 'hold', 0, 15200, NULL, 1796000794.962717),
	(31, 'ba826bec-4b4c-4669-b4ae-564749414323', '159972bb-dc86-40bd-96b9-b752c143cf1f', '8dcdd2a6-a4e7-4711-a47a-4c3ab1d6ef95', 'hold', 0, 80000, NULL, 1796000794.973263),
	(32, 'ba826bec-4b4c-4669-b4ae-564749414323', '159972bb-dc86-40bd-96b9-b752c143cf1f', '6b9188e7-904c-4394-82b3-e9ac5a25dc37', 'hold', 0, 7000, NULL, 1796000794.982018),
	(33, 'ba826bec-4b4c-4669-b4ae-564749414323', '093c0d4b-80e8-46b9-85d9-dbc6c3627cea', 'ed376e1c-d1ff-40f0-8be9-e5dd6330529e', 'hold', 0, 20000, NULL, 1796000794.992621),
	(34, '9641f5e1-bb69-4033-9c55-b5c9b62e674b', '390f6e54-4ad5-432e-9b29-62d15edf22c9', '3855470e-e05d-450d-896b-0fe348dcef1f', 'hold', 0, 3500, NULL, 1796000795.011192);
INSERT INTO public.outputs VALUES
	('4e04ea7f0b62b83325fed03a1c232aab.jpeg', 128, 128, 1796004391.686793),
	('78a117cd82d6ab2bb091dd8820d34f32.jpeg', 128, 128, 1796004391.686793),
	('a2f7f75035d8c0472ea12608706f84f4.jpeg', 128, 128, 1796004391.686793),
	('1c605ea4dbb898d1bc9629e3e0243462.jpeg', 1024, 1024, 1796004391.986669),
	('377abfe6654bcc8702ec2ccd53726444.jpeg', 128, 128, 1796004392.436874),
	('a981ad037aef077edbe4bed2536e903f.jpeg', 128, 128, 1796004392.436874),
	('4b7d2be316c4e3ea1216deb9a8c34ff5.png', 128, 128, 1796004392.571825),
	('d5050d41b67cc4b36a2a7f3106742d46.jpeg', 128, 192, 1796004392.878866),
	('425988b5557fcaee41ba6334ad5fb6bc.webp', 128, 128, 1796004392.994495),
	('5b68476d9eefec7758cdb9a87bff8f48.jpeg', 128, 128, 1796004393.16567),
	('501117e5e6663baa73dcc83b6c69ea1c.jpeg', 128, 128, 1796004394.462337);
INSERT INTO public.paces VALUES
	('stable-diffusion-3.5-turbo-txt2img 15 2', 0.0884, 1),
	('stable-diffusion-3.5-turbo-txt2img 15 3', 0.033933333333333336, 1),
	('stable-diffusion-3.5-turbo-txt2img 21 1', 0.1172, 1),
	('sd3-med-img2img 0 4', 0.037175, 1),
	('stable-diffusion-3-turbo-img2img 0 1', 0.01635, 1),
	('small-foxes 15 2', 0.034375, 1),
	('stable-diffusion-3.5-turbo-txt2img 15 1', 0.0281, 2);
INSERT INTO public.previews VALUES
	('a7ba0efc-6903-4e9a-8323-a0cecead4dae', 0, 1, 1, 9, false, '\xffd8ffe000104a46494600010100000100010000ffe100164578696600004d4d002a00000008000000000000ffe2025c4943435f50524f46494c450001010000024c6c636d73044000006d6e74725247422058595a20000000000000000000000000616373704150504c0000000000000000000000000000000000000000000000000000f6d6000100000000d32d6c636d7300000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000b64657363000001080000003663707274000001400000004c777470740000018c0000001463686164000001a00000002c7258595a000001cc000000146258595a000001e0000000146758595a000001f4000000147254524300000208000000206754524300000208000000206254524300000208000000206368726d00000228000000246d6c756300000000000000010000000c656e55530000001a0000001c00730052004700420020006200750069006c0074002d0069006e00006d6c756300000000000000010000000c656e5553000000300000001c004e006f00200063006f0070007900720069006700680074002c002000750073006500200066007200650065006c007958595a20000000000000f6d6000100000000d32d736633320000000000010c42000005defffff325000007930000fd90fffffba1fffffda2000003dc0000c06e58595a200000000000006fa0000038f50000039058595a20000000000000249f00000f840000b6c358595a2000000000000062970000b787000018d9706172610000000000030000000266660000f2a700000d59000013d000000a5b6368726d00000000000300000000a3d70000547b00004ccd0000999a0000266600000f5cffdb00430006040506050406060506070706080a100a0a09090a140e0f0c1017141818171416161a1d251f1a1b231c1616202c20232627292a29191f2d302d283025282928ffdb0043010707070a080a130a0a13281a161a2828282828282828282828282828282828282828282828282828282828282828282828282828282828282828282828282828ffc00011080010001003012200021101031101ffc4001f0000010501010101010100000000000000000102030405060708090a0bffc400b5100002010303020403050504040000017d01020300041105122131410613516107227114328191a1082342b1c11552d1f02433627282090a161718191a25262728292a3435363738393a434445464748494a535455565758595a636465666768696a737475767778797a838485868788898a92939495969798999aa2a3a4a5a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9dae1e2e3e4e5e6e7e8e9eaf1f2f3f4f5f6f7f8f9faffc4001f0100030101010101010101010000000000000102030405060708090a0bffc400b51100020102040403040705040400010277000102031104052131061241510761711322328108144291a1b1c109233352f0156272d10a162434e125f11718191a262728292a35363738393a434445464748494a535455565758595a636465666768696a737475767778797a82838485868788898a92939495969798999aa2a3a4a5a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9dae2e3e4e5e6e7e8e9eaf2f3f4f5f6f7f8f9faffda000c03010002110311003f00f71f116a0b14cd6764d0ade618b020023e5f9793ef8e3d2aee90e655f2eea38fcc072a7032467e95c1f8d3ed7ff094c973a75bdc390023fc8bb4903820eee4118f4c62b67c2ba9de4ba846ba8a4b180842feec05ea0f2771fe559251e5bfe87aaa31f677bfe27fffd9'),
	('a7ba0efc-6903-4e9a-8323-a0cecead4dae', 1, 1, 2, 9, false, '\xffd8ffe000104a46494600010100000100010000ffe100164578696600004d4d002a00000008000000000000ffe2025c4943435f50524f46494c450001010000024c6c636d73044000006d6e74725247422058595a20000000000000000000000000616373704150504c0000000000000000000000000000000000000000000000000000f6d6000100000000d32d6c636d7300000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000b64657363000001080000003663707274000001400000004c777470740000018c0000001463686164000001a00000002c7258595a000001cc000000146258595a000001e0000000146758595a000001f4000000147254524300000208000000206754524300000208000000206254524300000208000000206368726d00000228000000246d6c756300000000000000010000000c656e55530000001a0000001c00730052004700420020006200750069006c0074002d0069006e00006d6c756300000000000000010000000c656e5553000000300000001c004e006f00200063006f0070007900720069006700680074002c002000750073006500200066007200650065006c007958595a20000000000000f6d6000100000000d32d736633320000000000010c42000005defffff325000007930000fd90fffffba1fffffda2000003dc0000c06e58595a200000000000006fa0000038f50000039058595a20000000000000249f00000f840000b6c358595a2000000000000062970000b787000018d9706172610000000000030000000266660000f2a700000d59000013d000000a5b6368726d00000000000300000000a3d70000547b00004ccd0000999a0000266600000f5cffdb00430006040506050406060506070706080a100a0a09090a140e0f0c1017141818171416161a1d251f1a1b231c1616202c20232627292a29191f2d302d283025282928ffdb0043010707070a080a130a0a13281a161a2828282828282828282828282828282828282828282828282828282828282828282828282828282828282828282828282828ffc00011080010001003012200021101031101ffc4001f0000010501010101010100000000000000000102030405060708090a0bffc400b5100002010303020403050504040000017d01020300041105122131410613516107227114328191a1082342b1c11552d1f02433627282090a161718191a25262728292a3435363738393a434445464748494a535455565758595a636465666768696a737475767778797a838485868788898a92939495969798999aa2a3a4a5a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9dae1e2e3e4e5e6e7e8e9eaf1f2f3f4f5f6f7f8f9faffc4001f0100030101010101010101010000000000000102030405060708090a0bffc400b51100020102040403040705040400010277000102031104052131061241510761711322328108144291a1b1c109233352f0156272d10a162434e125f11718191a262728292a35363738393a434445464748494a535455565758595a636465666768696a737475767778797a82838485868788898a92939495969798999aa2a3a4a5a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9dae2e3e4e5e6e7e8e9eaf2f3f4f5f6f7f8f9faffda000c03010002110311003f00f6df15ea696ee2cacda25bd937139006c52a707383c96c7eb57f48904e3ca9d222e0e54e0648cf53c7b0ae13c6d25e1f1519b4db59df62ec77c2952474c7cdc83d3b56b784f55bb7d491350b79a2f9368708bb7ae793b89ede950b9796e7aaa31f66ddff0013ffd9'),
	('a7ba0efc-6903-4e9a-8323-a0cecead4dae', 2, 1, 3, 9, false, '\xffd8ffe000104a46494600010100000100010000ffe100164578696600004d4d002a00000008000000000000ffe2025c4943435f50524f46494c450001010000024c6c636d73044000006d6e74725247422058595a20000000000000000000000000616373704150504c0000000000000000000000000000000000000000000000000000f6d6000100000000d32d6c636d7300000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000b64657363000001080000003663707274000001400000004c777470740000018c0000001463686164000001a00000002c7258595a000001cc000000146258595a000001e0000000146758595a000001f4000000147254524300000208000000206754524300000208000000206254524300000208000000206368726d00000228000000246d6c756300000000000000010000000c656e55530000001a0000001c00730052004700420020006200750069006c0074002d0069006e00006d6c756300000000000000010000000c656e5553000000300000001c004e006f00200063006f0070007900720069006700680074002c002000750073006500200066007200650065006c007958595a20000000000000f6d6000100000000d32d736633320000000000010c42000005defffff325000007930000fd90fffffba1fffffda2000003dc0000c06e58595a200000000000006fa0000038f50000039058595a20000000000000249f00000f840000b6c358595a2000000000000062970000b787000018d9706172610000000000030000000266660000f2a700000d59000013d000000a5b6368726d00000000000300000000a3d70000547b00004ccd0000999a0000266600000f5cffdb00430006040506050406060506070706080a100a0a09090a140e0f0c1017141818171416161a1d251f1a1b231c1616202c20232627292a29191f2d302d283025282928ffdb0043010707070a080a130a0a13281a161a2828282828282828282828282828282828282828282828282828282828282828282828282828282828282828282828282828ffc00011080010001003012200021101031101ffc4001f0000010501010101010100000000000000000102030405060708090a0bffc400b5100002010303020403050504040000017d01020300041105122131410613516107227114328191a1082342b1c11552d1f02433627282090a161718191a25262728292a3435363738393a434445464748494a535455565758595a636465666768696a737475767778797a838485868788898a92939495969798999aa2a3a4a5a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9dae1e2e3e4e5e6e7e8e9eaf1f2f3f4f5f6f7f8f9faffc4001f0100030101010101010101010000000000000102030405060708090a0bffc400b51100020102040403040705040400010277000102031104052131061241510761711322328108144291a1b1c109233352f0156272d10a162434e125f11718191a262728292a35363738393a434445464748494a535455565758595a636465666768696a737475767778797a82838485868788898a92939495969798999aa2a3a4a5a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9dae2e3e4e5e6e7e8e9eaf2f3f4f5f6f7f8f9faffda000c03010002110311003f00f70f116a090c896b6b242b74ccc5c1519031c73db922ae68ecd22797771c065cee5231c8fcbd45701e356bf8fc592dce9f6b712ae02b9c2edc818f9486e4703a81cd6cf85758bf9f548e1beb69a2408403b576e783c9dffd2b24a3cb7fd0f5572fb3bdff0013ffd9'),
	('a7ba0efc-6903-4e9a-8323-a0cecead4dae', 3, 1, 4, 9, false, '\xffd8ffe000104a46494600010100000100010000ffe100164578696600004d4d002a00000008000000000000ffe2025c4943435f50524f46494c450001010000024c6c636d73044000006d6e74725247422058595a20000000000000000000000000616373704150504c0000000000000000000000000000000000000000000000000000f6d6000100000000d32d6c636d7300000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000b64657363000001080000003663707274000001400000004c777470740000018c0000001463686164000001a00000002c7258595a000001cc000000146258595a000001e0000000146758595a000001f4000000147254524300000208000000206754524300000208000000206254524300000208000000206368726d00000228000000246d6c756300000000000000010000000c656e55530000001a0000001c00730052004700420020006200750069006c0074002d0069006e00006d6c756300000000000000010000000c656e5553000000300000001c004e006f00200063006f0070007900720069006700680074002c002000750073006500200066007200650065006c007958595a20000000000000f6d6000100000000d32d736633320000000000010c42000005defffff325000007930000fd90fffffba1fffffda2000003dc0000c06e58595a200000000000006fa0000038f50000039058595a20000000000000249f00000f840000b6c358595a2000000000000062970000b787000018d9706172610000000000030000000266660000f2a700000d59000013d000000a5b6368726d00000000000300000000a3d70000547b00004ccd0000999a0000266600000f5cffdb00430006040506050406060506070706080a100a0a09090a140e0f0c1017141818171416161a1d251f1a1b231c1616202c20232627292a29191f2d302d283025282928ffdb0043010707070a080a130a0a13281a161a2828282828282828282828282828282828282828282828282828282828282828282828282828282828282828282828282828ffc00011080010001003012200021101031101ffc4001f0000010501010101010100000000000000000102030405060708090a0bffc400b5100002010303020403050504040000017d01020300041105122131410613516107227114328191a1082342b1c11552d1f02433627282090a161718191a25262728292a3435363738393a434445464748494a535455565758595a636465666768696a737475767778797a838485868788898a92939495969798999aa2a3a4a5a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9dae1e2e3e4e5e6e7e8e9eaf1f2f3f4f5f6f7f8f9faffc4001f0100030101010101010101010000000000000102030405060708090a0bffc400b51100020102040403040705040400010277000102031104052131061241510761711322328108144291a1b1c109233352f0156272d10a162434e125f11718191a262728292a35363738393a434445464748494a535455565758595a636465666768696a737475767778797a82838485868788898a92939495969798999aa2a3a4a5a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9dae2e3e4e5e6e7e8e9eaf2f3f4f5f6f7f8f9faffda000c03010002110311003f00f71f125f08e45b4b130adde4b4b9001552a71dbae76fe15774925e3f2eed21328e548c12cb9c64f1ec2b84f19457cde2d7bbd36de675da1243b900c81c107764838ef8c56cf856faf4dfc69a8432228421586dd839cf27793db1d2b3b4796e7aa945d3bdff0013ffd9');
INSERT INTO public.requests VALUES
	('95412453-45bf-4999-b7ed-b03876ae1499', 11, 'ba826bec-4b4c-4669-b4ae-564749414323', '159972bb-dc86-40bd-96b9-b752c143cf1f', 'stable-diffusion-3.5-turbo-txt2img', '{"prompt": "a fox", "negative_prompt": "low quality, blurry", "sampler": "dpmpp_2m", "scheduler": "sgm_uniform", "steps": 4, "guidance_scale": 1, "seed": 98552302, "width": 1024, "height": 1024, "aspect_ratio": "custom", "batch_size": 1, "image_format": "jpeg", "image_quality": 95, "base64": false, "exact": false}', 3500, 0, 'FAILED', 0, 0, NULL, NULL, false, 0, 4, 1796000793.560687, NULL, 1796000794.355545, 1796004394.355545, NULL, 'cancelled', 499, NULL, NULL, 1, 1796000793.76069, NULL, NULL, '{}', 'http://127.0.0.1:39767', NULL, 'stable-diffusion-3.5-turbo-txt2img 21 1', NULL, false, NULL, 'off', NULL, NULL),
	('50887a81-176b-45e5-b89d-cb4055dac5f9', 16, 'ba826bec-4b4c-4669-b4ae-564749414323', '159972bb-dc86-40bd-96b9-b752c143cf1f', 'sd3-med-img2img', '{"image": "file:34dedcffc7fe9e176c615d93a429d0da.in", "prompt": "a cat", "negative_prompt": "low quality,less details", "num_inference_steps": 3, "guidance_scale": 5, "seed": 3, "samples": 2, "strength": 0.7, "sampler": "euler_ancestral", "scheduler": "karras", "base64": false, "exact": false}', 15200, 0, 'QUEUED', 0, 0, NULL, NULL, false, 0, 3, 1796000794.958731, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 2, NULL, NULL, NULL, '{}', 'http://127.0.0.1:39767', NULL, 'sd3-med-img2img 0 4', NULL, false, NULL, 'off', NULL, NULL),
	('8dcdd2a6-a4e7-4711-a47a-4c3ab1d6ef95', 17, 'ba826bec-4b4c-4669-b4ae-564749414323', '159972bb-dc86-40bd-96b9-b752c143cf1f', 'stable-diffusion-3-turbo-img2img', '{"mode": "image-to-image", "image": "/files/23d0c931d1ff8b1c8a268b0af512e543.png", "prompt": "", "strength": 1, "seed": 2317697926, "output_format": "png", "base64": false, "exact": false}', 80000, 0, 'QUEUED', 0, 0, NULL, NULL, false, 0, 4, 1796000794.970789, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 1, NULL, NULL, NULL, '{}', 'http://127.0.0.1:39767', NULL, 'stable-diffusion-3-turbo-img2img 0 1', NULL, false, NULL, 'off', NULL, NULL),
	('6b9188e7-904c-4394-82b3-e9ac5a25dc37', 18, 'ba826bec-4b4c-4669-b4ae-564749414323', '159972bb-dc86-40bd-96b9-b752c143cf1f', 'stable-diffusion-3.5-turbo-txt2img', '{"prompt": "a fox", "negative_prompt": "low quality, blurry", "sampler": "dpmpp_2m", "scheduler": "sgm_uniform", "steps": 1, "guidance_scale": 1, "seed": 98552302, "width": 1024, "height": 1024, "aspect_ratio": "16:9 landscape 1344x768", "batch_size": 2, "image_format": "webp", "image_quality": 95, "base64": false, "exact": false}', 7000, 0, 'QUEUED', 0, 0, NULL, NULL, false, 0, 1, 1796000794.979817, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 2, 1796004394.97982, NULL, NULL, '{}', 'http://127.0.0.1:39767', NULL, 'stable-diffusion-3.5-turbo-txt2img 20 2', NULL, false, NULL, 'off', NULL, NULL),
	('ed376e1c-d1ff-40f0-8be9-e5dd6330529e', 19, 'ba826bec-4b4c-4669-b4ae-564749414323', '093c0d4b-80e8-46b9-85d9-dbc6c3627cea', 'small-foxes', '{"image": "file:4ceefe30c0d58d7a833acdad90d69853.in", "prompt": "a fox", "negative_prompt": "", "samples": 1, "scheduler": "DDIM", "num_inference_steps": 20, "guidance_scale": 7.5, "strength": 0.2, "seed": 2093542333, "img_width": 128, "img_height": 192, "base64": false, "exact": false}', 20000, 0, 'QUEUED', 0, 0, NULL, NULL, false, 0, 4, 1796000794.989336, NULL, NULL, NULL, NULL, NULL, NULL, 1000, NULL, 1, NULL, NULL, NULL, '{}', 'http://127.0.0.1:39767', NULL, 'small-foxes 15 2', NULL, false, NULL, 'off', NULL, NULL),
	('3855470e-e05d-450d-896b-0fe348dcef1f', 20, '9641f5e1-bb69-4033-9c55-b5c9b62e674b', '390f6e54-4ad5-432e-9b29-62d15edf22c9', 'stable-diffusion-3.5-turbo-txt2img', '{"prompt": "a boat", "negative_prompt": "low quality, blurry", "sampler": "dpmpp_2m", "scheduler": "normal", "steps": 2, "guidance_scale": 1, "seed": 98552302, "width": 128, "height": 128, "aspect_ratio": "custom", "batch_size": 1, "image_format": "jpeg", "image_quality": 95, "base64": false, "exact": false}', 3500, 0, 'QUEUED', 0, 0, NULL, NULL, false, 0, 2, 1796000795.008291, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 1, NULL, 'queued-once', 'ea01a5b529ecf521a32f1a4ff70fe5c28bd6f61465e026b2d18c1806865d1ce4', '{"x-warning": "dpmpp_2m is much less exact with normal than with sgm_uniform or karras"}', 'http://127.0.0.1:39767', 'http://127.0.0.1:34351/one', 'stable-diffusion-3.5-turbo-txt2img 15 1', NULL, false, NULL, 'off', NULL, NULL),
	('9048fcdf-4e2e-4b07-84b7-fe1c1921683c', 21, 'a6d24c4d-2ef7-4916-b9d3-901db9187325', '0cc5a3f2-36ac-47ac-b12f-49364302f8b6', 'stable-diffusion-3.5-turbo-txt2img', '{"prompt": "test:queued:20 test:processing:1", "negative_prompt": "low quality, blurry", "sampler": "dpmpp_2m", "scheduler": "sgm_uniform", "steps": 4, "guidance_scale": 1, "seed": 98552302, "width": 128, "height": 128, "aspect_ratio": "custom", "batch_size": 1, "image_format": "jpeg", "image_quality": 95, "base64": false, "exact": false}', 0, 0, 'QUEUED', 0, 0, NULL, NULL, false, 0, 4, 1796000795.020011, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 1, NULL, NULL, NULL, '{}', 'http://127.0.0.1:39767', NULL, NULL, NULL, true, 1796000815.020014, 'off', NULL, NULL),
	('db9dde5c-7490-4b5e-8047-8e486d132acc', 22, 'a6d24c4d-2ef7-4916-b9d3-901db9187325', '0cc5a3f2-36ac-47ac-b12f-49364302f8b6', 'sd1.5-img2img', '{"image": "/sd-img2img-input.jpeg", "prompt": "test:processing:1 test:retries:2", "negative_prompt": "", "samples": 1, "scheduler": "DDIM", "num_inference_steps": 20, "guidance_scale": 7.5, "strength": 1, "seed": 564392619, "img_width": 512, "img_height": 512, "base64": false, "exact": false}', 0, 0, 'PROCESSING', 1, 0, 'stand-in-6a5dbe9d', 1796000810.099331, false, 1, 20, 1796000795.03014, 1796000795.043649, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 1, NULL, NULL, NULL, '{}', 'http://127.0.0.1:39767', NULL, NULL, NULL, true, NULL, 'off', NULL, NULL),
	('e8d443eb-cdac-4fcf-a8b0-93c88d9f6b6c', 4, 'ba826bec-4b4c-4669-b4ae-564749414323', '159972bb-dc86-40bd-96b9-b752c143cf1f', 'stable-diffusion-3-turbo-img2img', '{"mode": "image-to-image", "image": "file:0ed9f91939b6013b68b3a793de9518d3.in", "prompt": "a dog", "strength": 1, "seed": 1694743137, "output_format": "png", "base64": false, "exact": false}', 80000, 0, 'COMPLETED', 1, 0, 'tintype.example-d01f73ed', NULL, false, 4, 4, 1796000792.476537, 1796000792.486609, 1796000792.571825, 1796004392.571825, '{"pictures": [{"name": "4b7d2be316c4e3ea1216deb9a8c34ff5.png", "size": 19326, "width": 128, "height": 128, "seed": 1694743137}], "format": "png", "seed": 1694743137, "recipe": {"model": "stable-diffusion-3-turbo-img2img", "order": {"prompt": "a dog", "negative_prompt": "", "image": "", "steps": 4, "guidance": 1.0, "strength": 1, "seed": 1694743137, "count": 1, "width": 0, "height": 0, "sampler": "euler", "schedule": "sgm_uniform", "format": "png", "quality": 95, "base64": false, "exact": false, "loras": ""}, "weights": "80f71c14c492ae6b879f4712", "dtype": "bfloat16", "t5_tokens": 1, "source": "ab91b41ae0b52cb5f750ee3671e0c4c3fc79520372d6c02cd7861a1fac55b119", "version": "0.1.0"}, "inference_time": 0.0654, "weights": "built-in"}', NULL, NULL, NULL, 80000, 1, NULL, NULL, NULL, '{}', 'http://127.0.0.1:39767', NULL, 'stable-diffusion-3-turbo-img2img 0 1', NULL, false, NULL, 'off', NULL, NULL),
	('56b44264-8162-473e-94fd-1cbf7addbc61', 1, 'ba826bec-4b4c-4669-b4ae-564749414323', '159972bb-dc86-40bd-96b9-b752c143cf1f', 'stable-diffusion-3.5-turbo-txt2img', '{"prompt": "a fox in the snow, a fox in the snow, a fox in the snow, a fox in the snow, a fox in the snow, a fox in the snow, a fox in the snow, a fox in the snow, ", "negative_prompt": "low quality, blurry", "sampler": "dpmpp_2m", "scheduler": "normal", "steps": 3, "guidance_scale": 1, "seed": 7, "width": 128, "height": 128, "aspect_ratio": "custom", "batch_size": 3, "image_format": "jpeg", "image_quality": 95, "base64": false, "exact": false}', 10500, 0, 'COMPLETED', 1, 0, 'tintype.example-d01f73ed', NULL, false, 3, 3, 1796000788.99015, 1796000789.000093, 1796000791.686793, 1796004391.686793, '{"pictures": [{"name": "4e04ea7f0b62b83325fed03a1c232aab.jpeg", "size": 13370, "width": 128, "height": 128, "seed": 7}, {"name": "78a117cd82d6ab2bb091dd8820d34f32.jpeg", "size": 13384, "width": 128, "height": 128, "seed": 8}, {"name": "a2f7f75035d8c0472ea12608706f84f4.jpeg", "size": 13078, "width": 128, "height": 128, "seed": 9}], "format": "jpeg", "seed": 7, "recipe": {"model": "stable-diffusion-3.5-turbo-txt2img", "order": {"prompt": "a fox in the snow, a fox in the snow, a fox in the snow, a fox in the snow, a fox in the snow, a fox in the snow, a fox in the snow, a fox in the snow, ", "negative_prompt": "low quality, blurry", "image": "", "steps": 3, "guidance": 1, "strength": 1.0, "seed": 7, "count": 1, "width": 128, "height": 128, "sampler": "dpmpp_2m", "schedule": "normal", "format": "jpeg", "quality": 95, "base64": false, "exact": false, "loras": ""}, "weights": "80f71c14c492ae6b879f4712", "dtype": "bfloat16", "t5_tokens": 1, "source": "", "version": "0.1.0"}, "inference_time": 0.1018, "warnings": ["prompt: the model reads the first 22 of its 48 tokens; what comes after them made no difference"], "weights": "built-in", "cold_start": 2.5653}', NULL, NULL, NULL, 10500, 3, NULL, 'finished-once', 'db4ec26e3b6d80fcbc2ee739747e9db5d9c94cf50a1715c79221bb3b3251fa47', '{"x-ignored-parameters": "unheard_of", "x-warning": "dpmpp_2m is much less exact with normal than with sgm_uniform or karras"}', 'http://127.0.0.1:39767', NULL, 'stable-diffusion-3.5-turbo-txt2img 15 3', NULL, false, NULL, 'off', NULL, NULL),
	('ecd46afa-1e60-4ff6-9a64-a98d7aa62018', 3, 'ba826bec-4b4c-4669-b4ae-564749414323', '159972bb-dc86-40bd-96b9-b752c143cf1f', 'sd3-med-img2img', '{"image": "/files/23d0c931d1ff8b1c8a268b0af512e543.png", "prompt": "a cat", "negative_prompt": "low quality,less details", "num_inference_steps": 4, "guidance_scale": 5, "seed": 1152921504606846976, "samples": 2, "strength": 0.5, "sampler": "dpmpp_2m", "scheduler": "sgm_uniform", "base64": true, "exact": true}', 15200, 0, 'COMPLETED', 1, 0, 'tintype.example-d01f73ed', NULL, false, 4, 4, 1796000792.021825, 1796000792.028918, 1796000792.436874, 1796004392.436874, '{"pictures": [{"name": "377abfe6654bcc8702ec2ccd53726444.jpeg", "size": 10109, "width": 128, "height": 128, "seed": 1152921504606846976}, {"name": "a981ad037aef077edbe4bed2536e903f.jpeg", "size": 10079, "width": 128, "height": 128, "seed": 1152921504606846977}], "format": "jpeg", "seed": 1152921504606846976, "recipe": {"model": "sd3-med-img2img", "order": {"prompt": "a cat", "negative_prompt": "low quality,less details", "image": "", "steps": 4, "guidance": 5, "strength": 0.5, "seed": 1152921504606846976, "count": 1, "width": 0, "height": 0, "sampler": "dpmpp_2m", "schedule": "sgm_uniform", "format": "jpeg", "quality": 95, "base64": false, "exact": true, "loras": ""}, "weights": "7592d32f02e1f8f59213341e", "dtype": "bfloat16", "t5_tokens": 1, "source": "ab91b41ae0b52cb5f750ee3671e0c4c3fc79520372d6c02cd7861a1fac55b119", "version": "0.1.0"}, "inference_time": 0.1487, "weights": "built-in", "cold_start": 0.1887}', NULL, NULL, NULL, 15200, 2, NULL, NULL, NULL, '{}', 'http://127.0.0.1:39767', NULL, 'sd3-med-img2img 0 4', NULL, false, NULL, 'off', NULL, NULL),
	('ef6297a1-0c0b-465f-ad95-8516c69593ca', 2, 'ba826bec-4b4c-4669-b4ae-564749414323', '159972bb-dc86-40bd-96b9-b752c143cf1f', 'stable-diffusion-3.5-turbo-txt2img', '{"prompt": "a fox", "negative_prompt": "low quality, blurry", "sampler": "dpmpp_2m", "scheduler": "sgm_uniform", "steps": 1, "guidance_scale": 1, "seed": 98552302, "width": 1024, "height": 1024, "aspect_ratio": "1:1 square 1024x1024", "batch_size": 1, "image_format": "jpeg", "image_quality": 20, "base64": false, "exact": false}', 3500, 0, 'COMPLETED', 1, 0, 'tintype.example-d01f73ed', NULL, false, 1, 1, 1796000791.846688, 1796000791.855138, 1796000791.986669, 1796004391.986669, '{"pictures": [{"name": "1c605ea4dbb898d1bc9629e3e0243462.jpeg", "size": 25650, "width": 1024, "height": 1024, "seed": 98552302}], "format": "jpeg", "seed": 98552302, "recipe": {"model": "stable-diffusion-3.5-turbo-txt2img", "order": {"prompt": "a fox", "negative_prompt": "low quality, blurry", "image": "", "steps": 1, "guidance": 1, "strength": 1.0, "seed": 98552302, "count": 1, "width": 1024, "height": 1024, "sampler": "dpmpp_2m", "schedule": "sgm_uniform", "format": "jpeg", "quality": 20, "base64": false, "exact": false, "loras": ""}, "weights": "80f71c14c492ae6b879f4712", "dtype": "bfloat16", "t5_tokens": 1, "source": "", "version": "0.1.0"}, "inference_time": 0.1172, "weights": "built-in"}', NULL, NULL, NULL, 3500, 1, NULL, NULL, NULL, '{}', 'http://127.0.0.1:39767', NULL, 'stable-diffusion-3.5-turbo-txt2img 21 1', NULL, false, NULL, 'off', NULL, NULL),
	('58bade71-c0ba-423b-b081-b5a1dbfd9644', 7, 'a6d24c4d-2ef7-4916-b9d3-901db9187325', '0cc5a3f2-36ac-47ac-b12f-49364302f8b6', 'stable-diffusion-3.5-turbo-txt2img', '{"prompt": "test:retries:1", "negative_prompt": "low quality, blurry", "sampler": "dpmpp_2m", "scheduler": "sgm_uniform", "steps": 4, "guidance_scale": 1, "seed": 98552302, "width": 128, "height": 128, "aspect_ratio": "custom", "batch_size": 1, "image_format": "jpeg", "image_quality": 95, "base64": false, "exact": false}', 0, 0, 'COMPLETED', 2, 0, 'stand-in-6a5dbe9d', NULL, false, 4, 4, 1796000793.035858, 1796000793.154433, 1796000793.16567, 1796004393.16567, '{"pictures": [{"name": "5b68476d9eefec7758cdb9a87bff8f48.jpeg", "size": 6439, "width": 128, "height": 128, "seed": 98552302}], "format": "jpeg", "seed": 98552302, "recipe": null, "inference_time": 0.0}', NULL, NULL, NULL, 0, 1, NULL, NULL, NULL, '{}', 'http://127.0.0.1:39767', NULL, NULL, NULL, true, NULL, 'off', NULL, NULL),
	('c368bba6-42ad-4072-9de4-8cd9136c96f5', 14, 'ba826bec-4b4c-4669-b4ae-564749414323', '159972bb-dc86-40bd-96b9-b752c143cf1f', 'sd1.5-img2img', '{"image": "/sd-img2img-input.jpeg", "prompt": "a castle", "negative_prompt": "", "samples": 2, "scheduler": "DPM Multi", "num_inference_steps": 20, "guidance_scale": 7.5, "strength": 0.1, "seed": 2911286831, "img_width": 768, "img_height": 512, "base64": false, "exact": false}', 7400, 0, 'QUEUED', 0, 0, NULL, NULL, false, 0, 2, 1796000794.934738, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 2, NULL, NULL, NULL, '{}', 'http://127.0.0.1:39767', NULL, 'sd1.5-img2img 19 4', NULL, false, NULL, 'off', NULL, NULL),
	('3f334ac0-f78f-4bb6-b822-a6fc24ce2435', 5, 'ba826bec-4b4c-4669-b4ae-564749414323', '093c0d4b-80e8-46b9-85d9-dbc6c3627cea', 'small-foxes', '{"image": "file:aa55f77982ee146fc81a73b7c5cba2d1.in", "prompt": "a fox", "negative_prompt": "", "samples": 1, "scheduler": "DDIM", "num_inference_steps": 20, "guidance_scale": 7.5, "strength": 0.2, "seed": 937582747, "img_width": 128, "img_height": 192, "base64": false, "exact": false}', 20000, 0, 'COMPLETED', 1, 0, 'tintype.example-d01f73ed', NULL, false, 4, 4, 1796000792.596858, 1796000792.605377, 1796000792.878866, 1796004392.878866, '{"pictures": [{"name": "d5050d41b67cc4b36a2a7f3106742d46.jpeg", "size": 11183, "width": 128, "height": 192, "seed": 937582747}], "format": "jpeg", "seed": 937582747, "recipe": {"model": "small-foxes", "order": {"prompt": "a fox", "negative_prompt": "", "image": "", "steps": 20, "guidance": 7.5, "strength": 0.2, "seed": 937582747, "count": 1, "width": 128, "height": 192, "sampler": "DDIM", "schedule": "", "format": "jpeg", "quality": 95, "base64": false, "exact": false, "loras": ""}, "weights": "678fe913c11833d8c13095bb", "dtype": "bfloat16", "t5_tokens": 256, "source": "ab91b41ae0b52cb5f750ee3671e0c4c3fc79520372d6c02cd7861a1fac55b119", "version": "0.1.0"}, "inference_time": 0.1375, "weights": "built-in", "cold_start": 0.1139}', NULL, NULL, 1000, 138, 1, NULL, NULL, NULL, '{}', 'http://127.0.0.1:39767', NULL, 'small-foxes 15 2', NULL, false, NULL, 'off', NULL, NULL),
	('8b5f8d9e-e21c-4431-966d-c27eed650720', 6, '9641f5e1-bb69-4033-9c55-b5c9b62e674b', '390f6e54-4ad5-432e-9b29-62d15edf22c9', 'stable-diffusion-3.5-turbo-txt2img', '{"prompt": "a boat", "negative_prompt": "low quality, blurry", "sampler": "dpmpp_2m", "scheduler": "sgm_uniform", "steps": 2, "guidance_scale": 1, "seed": 98552302, "width": 128, "height": 128, "aspect_ratio": "custom", "batch_size": 1, "image_format": "webp", "image_quality": 95, "base64": false, "exact": false}', 3500, 0, 'COMPLETED', 1, 0, 'tintype.example-d01f73ed', NULL, false, 2, 2, 1796000792.908034, 1796000792.916176, 1796000792.994495, 1796004392.994495, '{"pictures": [{"name": "425988b5557fcaee41ba6334ad5fb6bc.webp", "size": 4036, "width": 128, "height": 128, "seed": 98552302}], "format": "webp", "seed": 98552302, "recipe": {"model": "stable-diffusion-3.5-turbo-txt2img", "order": {"prompt": "a boat", "negative_prompt": "low quality, blurry", "image": "", "steps": 2, "guidance": 1, "strength": 1.0, "seed": 98552302, "count": 1, "width": 128, "height": 128, "sampler": "dpmpp_2m", "schedule": "sgm_uniform", "format": "webp", "quality": 95, "base64": false, "exact": false, "loras": ""}, "weights": "80f71c14c492ae6b879f4712", "dtype": "bfloat16", "t5_tokens": 1, "source": "", "version": "0.1.0"}, "inference_time": 0.0587, "weights": "built-in"}', NULL, NULL, NULL, 3500, 1, NULL, NULL, NULL, '{}', 'http://127.0.0.1:39767', NULL, 'stable-diffusion-3.5-turbo-txt2img 15 1', NULL, false, NULL, 'off', NULL, NULL),
	('e68ba800-4e00-471d-9499-66072d6cc611', 8, 'ba826bec-4b4c-4669-b4ae-564749414323', '159972bb-dc86-40bd-96b9-b752c143cf1f', 'sd1.5-img2img', '{"image": "http://127.0.0.1:9/fox.png", "prompt": "a fox", "negative_prompt": "", "samples": 1, "scheduler": "DDIM", "num_inference_steps": 20, "guidance_scale": 7.5, "strength": 1, "seed": 4111029730, "img_width": 512, "img_height": 512, "base64": false, "exact": false}', 3700, 0, 'FAILED', 1, 0, 'tintype.example-d01f73ed', NULL, false, 0, 20, 1796000793.17993, 1796000793.187597, 1796000793.204119, 1796004393.204119, NULL, '127.0.0.1: not a public address', 400, NULL, NULL, 1, NULL, NULL, NULL, '{}', 'http://127.0.0.1:39767', NULL, 'sd1.5-img2img 19 2', NULL, false, NULL, 'off', NULL, 'address_refused'),
	('faf016ba-8cea-4dc2-a59a-1654cda00455', 9, 'a6d24c4d-2ef7-4916-b9d3-901db9187325', '0cc5a3f2-36ac-47ac-b12f-49364302f8b6', 'stable-diffusion-3.5-turbo-txt2img', '{"prompt": "test:fail:model", "negative_prompt": "low quality, blurry", "sampler": "dpmpp_2m", "scheduler": "sgm_uniform", "steps": 4, "guidance_scale": 1, "seed": 98552302, "width": 1024, "height": 1024, "aspect_ratio": "custom", "batch_size": 1, "image_format": "jpeg", "image_quality": 95, "base64": false, "exact": false}', 0, 0, 'FAILED', 3, 0, 'stand-in-6a5dbe9d', NULL, false, 0, 4, 1796000793.228654, 1796000793.407403, 1796000793.49702, 1796004393.49702, NULL, 'the model failed on this request', 500, NULL, NULL, 1, NULL, NULL, NULL, '{}', 'http://127.0.0.1:39767', NULL, NULL, NULL, true, NULL, 'off', NULL, NULL),
	('674522d1-3203-4054-841f-c71d52323f81', 10, '9641f5e1-bb69-4033-9c55-b5c9b62e674b', '390f6e54-4ad5-432e-9b29-62d15edf22c9', 'stable-diffusion-3.5-turbo-txt2img', '{"prompt": "a fox", "negative_prompt": "low quality, blurry", "sampler": "dpmpp_2m", "scheduler": "sgm_uniform", "steps": 4, "guidance_scale": 1, "seed": 98552302, "width": 1024, "height": 1024, "aspect_ratio": "custom", "batch_size": 2, "image_format": "jpeg", "image_quality": 95, "base64": false, "exact": false}', 7000, 0, 'FAILED', 0, 0, NULL, NULL, false, 0, 4, 1796000793.539564, NULL, 1796000793.548191, 1796004393.548191, NULL, 'cancelled', 499, NULL, NULL, 2, NULL, NULL, NULL, '{}', 'http://127.0.0.1:39767', NULL, 'stable-diffusion-3.5-turbo-txt2img 21 2', NULL, false, NULL, 'off', NULL, NULL),
	('6c4a068f-1bb1-48ef-b946-8308a346ef3b', 12, 'ba826bec-4b4c-4669-b4ae-564749414323', '159972bb-dc86-40bd-96b9-b752c143cf1f', 'stable-diffusion-3.5-turbo-txt2img', '{"prompt": "a message", "negative_prompt": "low quality, blurry", "sampler": "dpmpp_2m", "scheduler": "sgm_uniform", "steps": 1, "guidance_scale": 1, "seed": 98552302, "width": 128, "height": 128, "aspect_ratio": "custom", "batch_size": 1, "image_format": "jpeg", "image_quality": 95, "base64": false, "exact": false}', 3500, 0, 'COMPLETED', 1, 0, 'tintype.example-d01f73ed', NULL, false, 1, 1, 1796000794.424145, 1796000794.429373, 1796000794.462337, 1796004394.462337, '{"pictures": [{"name": "501117e5e6663baa73dcc83b6c69ea1c.jpeg", "size": 9749, "width": 128, "height": 128, "seed": 98552302}], "format": "jpeg", "seed": 98552302, "recipe": {"model": "stable-diffusion-3.5-turbo-txt2img", "order": {"prompt": "a message", "negative_prompt": "low quality, blurry", "image": "", "steps": 1, "guidance": 1, "strength": 1.0, "seed": 98552302, "count": 1, "width": 128, "height": 128, "sampler": "dpmpp_2m", "schedule": "sgm_uniform", "format": "jpeg", "quality": 95, "base64": false, "exact": false, "loras": ""}, "weights": "80f71c14c492ae6b879f4712", "dtype": "bfloat16", "t5_tokens": 1, "source": "", "version": "0.1.0"}, "inference_time": 0.0231, "weights": "built-in"}', NULL, NULL, NULL, 3500, 1, NULL, NULL, NULL, '{}', 'http://127.0.0.1:39767', NULL, 'stable-diffusion-3.5-turbo-txt2img 15 1', NULL, false, NULL, 'off', NULL, NULL),
	('759881de-a24d-4bc7-a61d-d0eebd3cb19a', 15, 'ba826bec-4b4c-4669-b4ae-564749414323', '159972bb-dc86-40bd-96b9-b752c143cf1f', 'sd1.5-img2img', '{"image": "/sd-img2img-input.jpeg", "prompt": "a castle", "negative_prompt": "", "samples": 1, "scheduler": "DDIM", "num_inference_steps": 20, "guidance_scale": 1.0, "strength": 0.1, "seed": 2694483434, "img_width": 512, "img_height": 512, "base64": true, "exact": true}', 3700, 0, 'QUEUED', 0, 0, NULL, NULL, false, 0, 2, 1796000794.944317, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 1, NULL, NULL, NULL, '{}', 'http://127.0.0.1:39767', NULL, 'sd1.5-img2img 19 1', NULL, false, NULL, 'off', NULL, NULL),
	('a7ba0efc-6903-4e9a-8323-a0cecead4dae', 13, '9641f5e1-bb69-4033-9c55-b5c9b62e674b', '390f6e54-4ad5-432e-9b29-62d15edf22c9', 'stable-diffusion-3.5-turbo-txt2img', '{"prompt": "a long way", "negative_prompt": "low quality, blurry", "sampler": "dpmpp_2m", "scheduler": "sgm_uniform", "steps": 70, "guidance_scale": 1, "seed": 11, "width": 256, "height": 256, "aspect_ratio": "custom", "batch_size": 4, "image_format": "jpeg", "image_quality": 95, "base64": false, "exact": false}', 14000, 0, 'PROCESSING', 1, 0, 'tintype.example-d01f73ed', 1796000809.824508, false, 9, 70, 1796000794.62351, 1796000794.632246, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 4, NULL, NULL, NULL, '{}', 'http://127.0.0.1:39767', NULL, 'stable-diffusion-3.5-turbo-txt2img 17 4', 1796000804.657447, false, NULL, 'off', NULL, NULL);
INSERT INTO public.samples VALUES
	(1796000770, 0, 0, 0, NULL, NULL, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
	(1796000780, 0, 0, 0, NULL, NULL, 2, 4, 32, 0.07112713000242366, 3, 4.166526512999553, 1, 0, 1, 0),
	(1796000790, 0, 1, 1, 512692224, NULL, 32, 77, 512, 0.4798447079920152, 7, 2.867877471995598, 7, 0, 1, 2);
INSERT INTO public.servers VALUES
	('tintype.example:39767', '0.1.0', '{"sd1.5-img2img": "6226d9b7f17b", "sd3-med-img2img": "195019f67ca1", "stable-diffusion-3-turbo-img2img": "e75505ae9e79", "stable-diffusion-3.5-turbo-txt2img": "e8e63a2e787e", "small-foxes": "a499942ea1b3"}', 1796000785.992075, 1796000786.318126, NULL);
INSERT INTO public.warmups VALUES
	('sd3-med-img2img', 'tintype.example-d01f73ed', 'WARM', NULL, NULL, 1796000792.337149, true),
	('stable-diffusion-3.5-turbo-txt2img', 'tintype.example-d01f73ed', 'WARM', NULL, NULL, 1796000792.338553, true),
	('sd1.5-img2img', 'tintype.example-d01f73ed', 'COLD', NULL, NULL, 1796000792.871358, true),
	('stable-diffusion-3-turbo-img2img', 'tintype.example-d01f73ed', 'WARM', NULL, NULL, 1796000792.88421, true),
	('small-foxes', 'tintype.example-d01f73ed', 'WARM', NULL, NULL, 1796000792.885093, true);
INSERT INTO public.webhooks VALUES
	('cf6878ac-982e-4ef3-ac7c-d05c6790eb2c', 'ba826bec-4b4c-4669-b4ae-564749414323', 'http://127.0.0.1:34351/hook', '["REQUEST_COMPLETED", "REQUEST_FAILED"]', 'whsec_hqnxuO0KC3As81xA+SHcH/MWC1qy7nKsiVsdNu3ZS1M=', NULL, NULL, 1796000788.976402, 1796000793.34692, NULL, NULL, false, 'http://127.0.0.1:39767'),
	('465b3acd-576f-4dec-b9a4-31d14fc0759f', '9641f5e1-bb69-4033-9c55-b5c9b62e674b', NULL, '["REQUEST_COMPLETED", "REQUEST_FAILED"]', 'whsec_iQbWeQSEvT8sSXtiVUaudYhXEOfmdSrdEe8s8jh2KKM=', NULL, NULL, 1796000795.001574, NULL, NULL, NULL, false, NULL);
INSERT INTO public.workers VALUES
	('tintype.example-d01f73ed', 'cpu', 1796000788.641373, 1796000794.827116, 32, 77, 0.4798447079920152, 7, 2.867877471995598, 16, '{"tasks": [{"request_id": "a7ba0efc-6903-4e9a-8323-a0cecead4dae", "model": "stable-diffusion-3.5-turbo-txt2img", "pictures": 4, "step": 9, "steps": 70}], "models": ["stable-diffusion-3.5-turbo-txt2img", "sd3-med-img2img", "stable-diffusion-3-turbo-img2img", "small-foxes"], "memory": {"process": 719409152, "weights": 68799836, "budget": 22331085824}, "lately": {"rows": 3.7, "step_seconds": 0.016471176699997158}}', NULL, NULL, '{"stage_runs/stable-diffusion-3.5-turbo-txt2img/queue": 5.0, "stage_seconds/stable-diffusion-3.5-turbo-txt2img/queue": 0.040499210357666016, "stage_runs/stable-diffusion-3.5-turbo-txt2img/fetch": 5.0, "stage_seconds/stable-diffusion-3.5-turbo-txt2img/fetch": 0.00010529600331210531, "stage_runs/stable-diffusion-3.5-turbo-txt2img/load": 3.0, "stage_seconds/stable-diffusion-3.5-turbo-txt2img/load": 2.5652711859984265, "stage_runs/stable-diffusion-3.5-turbo-txt2img/encode": 5.0, "stage_seconds/stable-diffusion-3.5-turbo-txt2img/encode": 0.03204699199704919, "stage_runs/stable-diffusion-3.5-turbo-txt2img/denoise": 6.0, "stage_seconds/stable-diffusion-3.5-turbo-txt2img/denoise": 0.21224107500893297, "stage_runs/stable-diffusion-3.5-turbo-txt2img/decode": 6.0, "stage_seconds/stable-diffusion-3.5-turbo-txt2img/decode": 0.050976631995581556, "stage_runs/stable-diffusion-3.5-turbo-txt2img/deliver": 4.0, "stage_seconds/stable-diffusion-3.5-turbo-txt2img/deliver": 0.1604173699997773, "stage_runs/sd3-med-img2img/queue": 1.0, "stage_seconds/sd3-med-img2img/queue": 0.007092952728271484, "stage_runs/sd3-med-img2img/fetch": 1.0, "stage_seconds/sd3-med-img2img/fetch": 0.05474936999962665, "stage_runs/sd3-med-img2img/load": 2.0, "stage_seconds/sd3-med-img2img/load": 0.18870489099936094, "stage_runs/sd3-med-img2img/encode": 1.0, "stage_seconds/sd3-med-img2img/encode": 0.025683456999104237, "stage_runs/sd3-med-img2img/denoise": 2.0, "stage_seconds/sd3-med-img2img/denoise": 0.19846327200502856, "stage_runs/sd3-med-img2img/decode": 2.0, "stage_seconds/sd3-med-img2img/decode": 0.017388736003340455, "stage_runs/sd3-med-img2img/deliver": 1.0, "stage_seconds/sd3-med-img2img/deliver": 0.019121044002531562, "stage_runs/stable-diffusion-3-turbo-img2img/queue": 1.0, "stage_seconds/stable-diffusion-3-turbo-img2img/queue": 0.010071992874145508, "stage_runs/stable-diffusion-3-turbo-img2img/fetch": 1.0, "stage_seconds/stable-diffusion-3-turbo-img2img/fetch": 0.0041429760021856055, "stage_runs/stable-diffusion-3-turbo-img2img/encode": 1.0, "stage_seconds/stable-diffusion-3-turbo-img2img/encode": 0.01127372200062382, "stage_runs/stable-diffusion-3-turbo-img2img/denoise": 1.0, "stage_seconds/stable-diffusion-3-turbo-img2img/denoise": 0.04224863099807408, "stage_runs/stable-diffusion-3-turbo-img2img/decode": 1.0, "stage_seconds/stable-diffusion-3-turbo-img2img/decode": 0.008382986998185515, "stage_runs/stable-diffusion-3-turbo-img2img/deliver": 1.0, "stage_seconds/stable-diffusion-3-turbo-img2img/deliver": 0.013069644002825953, "stage_runs/small-foxes/queue": 1.0, "stage_seconds/small-foxes/queue": 0.00851893424987793, "stage_runs/small-foxes/fetch": 1.0, "stage_seconds/small-foxes/fetch": 0.005420159999630414, "stage_runs/small-foxes/load": 2.0, "stage_seconds/small-foxes/load": 0.11390139499781071, "stage_runs/small-foxes/encode": 1.0, "stage_seconds/small-foxes/encode": 0.01979467799901613, "stage_runs/small-foxes/denoise": 1.0, "stage_seconds/small-foxes/denoise": 0.10616856699925847, "stage_runs/small-foxes/decode": 1.0, "stage_seconds/small-foxes/decode": 0.007942740001453785, "stage_runs/small-foxes/deliver": 1.0, "stage_seconds/small-foxes/deliver": 0.012956654998561135, "stage_runs/sd1.5-img2img/queue": 1.0, "stage_seconds/sd1.5-img2img/queue": 0.007667064666748047, "stage_runs/sd1.5-img2img/fetch": 1.0, "stage_seconds/sd1.5-img2img/fetch": 0.005019923999498133, "prompt_cache/hit": 7, "prompt_cache/miss": 10, "transactions": 108.0, "transaction_seconds/wait": 0.08031317996938014, "transaction_seconds/transaction": 0.40264960398781113}', false, '0.1.0');
SELECT pg_catalog.setval('public.audit_id_seq', 18, true);
SELECT pg_catalog.setval('public.ledger_id_seq', 34, true);
ALTER TABLE ONLY public.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);
ALTER TABLE ONLY public.accounts
    ADD CONSTRAINT pk_accounts PRIMARY KEY (id);
ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT pk_api_keys PRIMARY KEY (id);
ALTER TABLE ONLY public.assets
    ADD CONSTRAINT pk_assets PRIMARY KEY (name);
ALTER TABLE ONLY public.audit
    ADD CONSTRAINT pk_audit PRIMARY KEY (id);
ALTER TABLE ONLY public.controls
    ADD CONSTRAINT pk_controls PRIMARY KEY (name);
ALTER TABLE ONLY public.counters
    ADD CONSTRAINT pk_counters PRIMARY KEY (key);
ALTER TABLE ONLY public.deliveries
    ADD CONSTRAINT pk_deliveries PRIMARY KEY (id);
ALTER TABLE ONLY public.facts
    ADD CONSTRAINT pk_facts PRIMARY KEY (name);
ALTER TABLE ONLY public.history
    ADD CONSTRAINT pk_history PRIMARY KEY (id);
ALTER TABLE ONLY public.inputs
    ADD CONSTRAINT pk_inputs PRIMARY KEY (request_id);
ALTER TABLE ONLY public.keepers
    ADD CONSTRAINT pk_keepers PRIMARY KEY (fleet);
ALTER TABLE ONLY public.ledger
    ADD CONSTRAINT pk_ledger PRIMARY KEY (id);
ALTER TABLE ONLY public.outputs
    ADD CONSTRAINT pk_outputs PRIMARY KEY (name);
ALTER TABLE ONLY public.paces
    ADD CONSTRAINT pk_paces PRIMARY KEY (pace);
ALTER TABLE ONLY public.previews
    ADD CONSTRAINT pk_previews PRIMARY KEY (request_id, picture);
ALTER TABLE ONLY public.requests
    ADD CONSTRAINT pk_requests PRIMARY KEY (id);
ALTER TABLE ONLY public.samples
    ADD CONSTRAINT pk_samples PRIMARY KEY (at);
ALTER TABLE ONLY public.servers
    ADD CONSTRAINT pk_servers PRIMARY KEY (id);
ALTER TABLE ONLY public.warmups
    ADD CONSTRAINT pk_warmups PRIMARY KEY (slug, worker);
ALTER TABLE ONLY public.webhooks
    ADD CONSTRAINT pk_webhooks PRIMARY KEY (id);
ALTER TABLE ONLY public.workers
    ADD CONSTRAINT pk_workers PRIMARY KEY (id);
ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT uq_api_keys_digest UNIQUE (digest);
ALTER TABLE ONLY public.requests
    ADD CONSTRAINT uq_requests_seq UNIQUE (seq);
CREATE INDEX ix_accounts_last_turn ON public.accounts USING btree (last_turn);
CREATE INDEX ix_api_keys_account ON public.api_keys USING btree (account_id);
CREATE INDEX ix_api_keys_old_digest ON public.api_keys USING btree (old_digest);
CREATE INDEX ix_assets_account ON public.assets USING btree (account_id, expires_at);
CREATE INDEX ix_audit_account ON public.audit USING btree (account_id);
CREATE INDEX ix_audit_by ON public.audit USING btree (by_account, at);
CREATE INDEX ix_audit_last ON public.audit USING btree (last_at);
CREATE INDEX ix_deliveries_due ON public.deliveries USING btree (status, due_at);
CREATE INDEX ix_deliveries_webhook ON public.deliveries USING btree (webhook_id, created_at);
CREATE INDEX ix_history_account ON public.history USING btree (account_id, submitted_at);
CREATE INDEX ix_history_expiry ON public.history USING btree (ended_at);
CREATE INDEX ix_inputs_account ON public.inputs USING btree (account_id, size);
CREATE INDEX ix_ledger_account ON public.ledger USING btree (account_id, id);
CREATE UNIQUE INDEX ix_ledger_end ON public.ledger USING btree (request_id) WHERE ((kind)::text = ANY ((ARRAY['settle'::character varying, 'release'::character varying])::text[]));
CREATE INDEX ix_ledger_ended ON public.ledger USING btree (created_at) WHERE ((kind)::text = ANY ((ARRAY['settle'::character varying, 'release'::character varying])::text[]));
CREATE UNIQUE INDEX ix_ledger_hold ON public.ledger USING btree (request_id) WHERE ((kind)::text = 'hold'::text);
CREATE INDEX ix_outputs_expiry ON public.outputs USING btree (expires_at);
CREATE INDEX ix_requests_account ON public.requests USING btree (account_id, submitted_at);
CREATE INDEX ix_requests_claim ON public.requests USING btree (status, test, priority, key_id, seq, due_at, pictures);
CREATE INDEX ix_requests_deadline ON public.requests USING btree (status, cancel_at);
CREATE INDEX ix_requests_expiry ON public.requests USING btree (expires_at);
CREATE UNIQUE INDEX ix_requests_idempotency ON public.requests USING btree (key_id, idempotency_key);
CREATE INDEX ix_requests_key ON public.requests USING btree (key_id, submitted_at);
CREATE INDEX ix_webhooks_account ON public.webhooks USING btree (account_id, created_at);
CREATE TRIGGER ledger_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON public.ledger FOR EACH STATEMENT EXECUTE FUNCTION public.ledger_append_only();
ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT fk_api_keys_account_id FOREIGN KEY (account_id) REFERENCES public.accounts(id);
ALTER TABLE ONLY public.assets
    ADD CONSTRAINT fk_assets_account_id FOREIGN KEY (account_id) REFERENCES public.accounts(id);
ALTER TABLE ONLY public.deliveries
    ADD CONSTRAINT fk_deliveries_webhook_id FOREIGN KEY (webhook_id) REFERENCES public.webhooks(id);
ALTER TABLE ONLY public.ledger
    ADD CONSTRAINT fk_ledger_account_id FOREIGN KEY (account_id) REFERENCES public.accounts(id);
ALTER TABLE ONLY public.requests
    ADD CONSTRAINT fk_requests_account_id FOREIGN KEY (account_id) REFERENCES public.accounts(id);
ALTER TABLE ONLY public.requests
    ADD CONSTRAINT fk_requests_key_id FOREIGN KEY (key_id) REFERENCES public.api_keys(id);
ALTER TABLE ONLY public.webhooks
    ADD CONSTRAINT fk_webhooks_account_id FOREIGN KEY (account_id) REFERENCES public.accounts(id);
