# A thin front for people; meson does the work.
BUILD = build

.PHONY: all demo test bench soak install clean

all: setup
	ninja -C $(BUILD)

# Packages that are missing, then the build folder.
setup:
	@scripts/bootstrap
	@test -f $(BUILD)/build.ninja || meson setup $(BUILD)
.PHONY: setup

# Cameras streaming and playing in a browser. ARGS="--camera gate=rtsp://10.0.0.11/stream1"
demo: setup
	@ninja -C $(BUILD) --quiet kvg kvg-server kvg-testcam
	@$(BUILD)/kvg demo $(ARGS)

test:
	@scripts/bootstrap --test
	@scripts/test

# One JSON line for each benchmark. BENCH=full takes longer; ARGS="producer-cpu server-cpu" picks.
bench: setup
	@scripts/bootstrap --test
	@ninja -C $(BUILD) --quiet
	@bench/run.py $(ARGS)

# What takes too long for every day: scripts/soak says what. SOAK=1h: an hour of 50 cameras under faults.
soak:
	@scripts/bootstrap --test
	@scripts/soak $(SOAK)

install: all
	meson install -C $(BUILD)

clean:
	rm -rf build build-*
