# Everything that a developer or a user of the sources needs. `make` alone lists it.

DAGSTER_VERSION := 1.13.27
# What `make matrix` tests: the ends of each line of Dagster that is supported. The README has the table.
MATRIX_VERSIONS := 1.10.0 1.10.21 1.11.16 1.12.22 $(DAGSTER_VERSION)
# What is tested on each: who may do what, what comes of it, and every way in.
MATRIX_TESTS := Oracle|Roles|TerminateAndDelete|OneRefusedRefusesAll|Surface|WebSocketSurface
GOLANGCI_VERSION := v2.15.0
PYTHON ?= python3
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
FUZZTIME ?= 1m

# go-sqlite3 needs cgo. The C library's resolver is left out (netgo, osusergo), so that the static binary runs anywhere.
export CGO_ENABLED := 1
GO_TAGS := netgo osusergo sqlite_omit_load_extension
LDFLAGS := -s -w -X main.version=$(VERSION) -linkmode external -extldflags "-static"
SOURCES := $(shell find cmd internal web migrations -type f -not -name '*_test.go' -not -path '*/testdata/*') go.mod go.sum

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-10s %s\n", $$1, $$2}'

.PHONY: build
build: bin/dagster-authkit ## write bin/dagster-authkit, one static binary

bin/dagster-authkit: $(SOURCES)
	go build -trimpath -tags '$(GO_TAGS)' -ldflags '$(LDFLAGS)' -o $@ ./cmd/dagster-authkit

.PHONY: venv
venv: .venv/dagster-$(DAGSTER_VERSION)-postgres ## make .venv with the pinned dagster and dagster-webserver, and their storage on PostgreSQL

# dagster-postgres has numbers of its own; each asks for the one Dagster that it belongs to. It brings psycopg2, and takes what
# SQLAlchemy has as its usual driver, which is another from SQLAlchemy 2.1 on.
.venv/dagster-$(DAGSTER_VERSION)-postgres:
	$(PYTHON) -m venv --clear .venv
	.venv/bin/pip install --quiet --disable-pip-version-check dagster==$(DAGSTER_VERSION) dagster-webserver==$(DAGSTER_VERSION) dagster-postgres 'sqlalchemy<2.1'
	touch $@

# The takeover is tested on files that the real Python AuthKit made; with and without bcrypt it hashes differently.
.PHONY: venv-python-authkit
venv-python-authkit: .venv-python-authkit/made

.venv-python-authkit/made:
	$(PYTHON) -m venv --clear .venv-python-authkit
	.venv-python-authkit/bin/pip install --quiet --disable-pip-version-check dagster-authkit==1.2.0 bcrypt
	touch $@

.PHONY: demo
demo: build venv ## start AuthKit in front of an example pipeline, with an admin
	@./examples/demo.sh

.PHONY: test
test: build venv venv-python-authkit chromium nginx postgresql directories oidc-provider ## unit tests with the race detector, scripts, and the end-to-end tests on the real Dagster
	go vet ./...
	go test -race -timeout 30m ./bench ./cmd/... ./internal/... ./web/... ./migrations/...
	go test -timeout 90m ./e2e/...

# A version is made once; pip keeps what it downloaded, so that the next clone is made from its cache.
.venv-matrix/%/made:
	$(PYTHON) -m venv --clear .venv-matrix/$*
	.venv-matrix/$*/bin/pip install --quiet --disable-pip-version-check dagster==$* dagster-webserver==$*
	touch $@

.PHONY: matrix
matrix: SHELL := bash
matrix: .SHELLFLAGS := -o pipefail -c
matrix: $(MATRIX_VERSIONS:%=.venv-matrix/%/made) ## the oracle, roles, surface and WebSockets on every version of Dagster in the README's table
	@for version in $(MATRIX_VERSIONS); do \
		echo "== dagster $$version"; \
		E2E_DAGSTER=$$version go test -v -count=1 -timeout 45m -run '^Test($(MATRIX_TESTS))$$' ./e2e | grep -v '^=== ' || exit 1; \
	done

# The browser tests need Chromium. Debian's package is installed when it is missing and we may; otherwise they are skipped
# by name, which fails where CI is set.
.PHONY: chromium
chromium:
	@command -v chromium >/dev/null || [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null || \
		{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null; }

# Signing in by OpenID Connect is tested on node-oidc-provider. Debian's Node.js is installed when there is none and we may;
# otherwise those tests are skipped by name, which fails where CI is set.
.PHONY: oidc-provider
oidc-provider:
	@command -v npm >/dev/null || [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null || \
		{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq nodejs npm >/dev/null; }
	@! command -v npm >/dev/null || $(MAKE) -s e2e/testdata/oidc-provider/node_modules/.package-lock.json

e2e/testdata/oidc-provider/node_modules/.package-lock.json: e2e/testdata/oidc-provider/package-lock.json
	npm ci --prefix e2e/testdata/oidc-provider --omit-lockfile-registry-resolved --no-audit --no-fund --loglevel=error >/dev/null
	touch $@

# So do the tests of a proxy in front need nginx.
.PHONY: nginx
nginx:
	@command -v nginx >/dev/null || [ -x /usr/sbin/nginx ] || [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null || \
		{ apt-get update -qq && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq nginx-light >/dev/null; }

# The tests of LDAP run OpenLDAP's slapd and Samba's domain controller, Debian's packages. RUNLEVEL=1 keeps the packages from
# starting services of their own.
.PHONY: directories
directories:
	@{ [ -x /usr/sbin/slapd ] && [ -x /usr/sbin/samba ] && [ -x /usr/bin/samba-tool ] && [ -d /usr/share/samba/setup ]; } || [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null || \
		{ apt-get update -qq && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq slapd samba samba-ad-dc samba-ad-provision >/dev/null; }

# The tests start servers of their own, in temporary folders. Debian's package would make and start one for everybody, which
# they do not need, and nobody would end. RUNLEVEL=1 keeps PgBouncer's from starting it.
.PHONY: postgresql
postgresql:
	@{ { command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; } && { command -v pgbouncer >/dev/null || [ -x /usr/sbin/pgbouncer ]; }; } || \
		[ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null || \
		{ mkdir -p /etc/postgresql-common && echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf && \
		apt-get update -qq && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq postgresql pgbouncer >/dev/null; }

# A million sessions, a hundred thousand users, ten million events: no query reads more of them than it must.
.PHONY: scale
scale: postgresql ## the plan of every query on 10 million audit events, on both engines, in about 15 minutes and 10 GB
	STORE_SCALE=full go test -count=1 -timeout 2h -v -run '^TestScale$$' ./internal/store

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME (1m)
	@for target in $$(grep -rlE '^func Fuzz' --include='*_test.go' internal | xargs grep -hoE '^func Fuzz[A-Za-z]+' | sed 's/func //' | sort -u); do \
		package=$$(grep -rlE "^func $$target\(" --include='*_test.go' internal | head -1 | xargs dirname); \
		echo "== $$package $$target"; go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 100x ./$$package || exit 1; \
	done

.PHONY: language
language: venv ## hold generated requests against Dagster's own reader for FUZZTIME (1m)
	LANGUAGE_TIME=$(FUZZTIME) go test -count=1 -timeout 0 -v -run '^TestLanguage$$' ./e2e

# wrk and nginx are Debian's packages, installed when they are missing and we may. All sides have the same Dagster.
.PHONY: bench
bench: build venv venv-python-authkit chromium ## figures beside bare Dagster, nginx and others, in 15 minutes; BENCH_QUICK=1: in 3
	@{ command -v wrk && { command -v nginx || [ -x /usr/sbin/nginx ]; }; } >/dev/null || [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null || \
		{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq wrk nginx-light >/dev/null; }
	@.venv-python-authkit/bin/pip install --quiet --disable-pip-version-check dagster==$(DAGSTER_VERSION) dagster-webserver==$(DAGSTER_VERSION)
	@go run ./bench $(if $(BENCH_QUICK),-quick) $(BENCH_FLAGS)

.PHONY: pictures
pictures: venv ## make the README's pictures anew, in Chromium
	E2E_ARTIFACTS=$(CURDIR)/docs/images go test -count=1 -run '^TestBrowser$$' ./e2e

.PHONY: lint
lint: .tools/golangci-lint-$(GOLANGCI_VERSION) ## check the code with golangci-lint
	$< run ./...

.tools/golangci-lint-$(GOLANGCI_VERSION):
	GOBIN=$(CURDIR)/.tools go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	mv .tools/golangci-lint $@

.PHONY: fmt
fmt: .tools/golangci-lint-$(GOLANGCI_VERSION) ## format the code
	$< fmt ./...

.PHONY: verify
verify: ## fail when go.mod is not tidy
	go mod tidy -diff

.PHONY: image
image: ## build the container image (needs a Docker engine)
	docker build -t dagster-authkit .
