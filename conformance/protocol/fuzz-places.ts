/** Where the calls of a batch may do something: inside the namespaces that fuzz.sh makes. */
import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Places } from "./configurations.ts";

/* Fixed, so that an input is the same in every run and on every machine. */
export const PLACES: Places = {
  bin: "/run/bin",
  delegates: "/run/delegates",
  netns: "/run/netns/pod",
  dataDir: "/var/lib/fuzz/leases",
  peersFile: "/run/peers.ndjson",
};

/** Makes the pod's namespace and the delegate `echo`. */
export function makePlaces(): void {
  const made = spawnSync("ip", ["netns", "add", "pod"]);
  if (made.status !== 0) throw new Error(`ip netns add: ${made.stderr}`);
  mkdirSync(PLACES.delegates);
  const echo = '#!/bin/sh\nprintf "%s" "$FUZZ_OUTPUT"\nexit "$FUZZ_STATUS"\n';
  writeFileSync(join(PLACES.delegates, "echo"), echo, { mode: 0o755 });
}
