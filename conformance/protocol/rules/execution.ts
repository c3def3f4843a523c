/** Sections 3 and 4 of the specification: what runtimes do with a configuration, and delegation. */
import { type Group, may, must, should } from "./rule.ts";

export const EXECUTION: readonly Group[] = [
  {
    heading: "3 Lifecycle and ordering",
    rules: [
      must("LIFE-1", "runtime", "makes the container's namespace first"),
      must("LIFE-2", "runtime", "calls nothing at once for one container; for several it may"),
      must("LIFE-3", "plugin", "works while it is called for other containers, and locks what they share"),
      must("LIFE-4", "runtime", "each ADD is followed by a DEL in the end, a failed one as well"),
      may("LIFE-5", "plugin", "more DELs may follow a DEL"),
      should("LIFE-6", "author", "the configuration stays the same from ADD to DEL, and for all attachments"),
      must("LIFE-7", "runtime", "removes the namespace"),
      must("LIFE-8", "runtime", "calls GC alone: no ADD or DEL meanwhile"),
    ],
  },
  {
    heading: "3 Attachments",
    rules: [
      must(
        "ATT-1",
        "plugin",
        "container and interface name together are an attachment's name: one container may have several",
      ),
      must("ATT-2", "runtime", "sets the CNI_ variables to what belongs to the attachment"),
      must("RUN-1", "runtime", "ADD: first to last, each with the result of the one before; the last result is kept"),
      must("RUN-2", "runtime", "DEL: last to first, each with the last result of ADD"),
      must("RUN-3", "runtime", "CHECK: first to last, each with the last result of ADD, and the parameters of ADD"),
      must("RUN-4", "runtime", "GC: for every plugin, going on after failures"),
      must("RUN-5", "runtime", "an executable that is not there, or fails, ends ADD, DEL and CHECK"),
    ],
  },
  {
    heading: "3 Deriving a plugin's configuration",
    rules: [
      must(
        "DERIVE-1",
        "runtime",
        "inserts `cniVersion`, `name`, `runtimeConfig`, `prevResult`, `cni.dev/valid-attachments`",
      ),
      must("DERIVE-2", "runtime", "removes `capabilities`"),
      should("DERIVE-3", "runtime", "passes everything else through"),
      should(
        "DERIVE-4",
        "runtime",
        "`runtimeConfig` holds what the configuration's capabilities ask for and the runtime has",
      ),
      may(
        "DERIVE-5",
        "plugin",
        "takes what it declared as a capability from `runtimeConfig`, whether `capabilities` is there or not",
      ),
    ],
  },
  {
    heading: "4 Delegation",
    rules: [
      must("DELEG-1", "IPAM plugin", "decides on address, gateway and routes, and returns them"),
      should("DELEG-2", "delegating plugin", "looks for the delegate in the directories of CNI_PATH"),
      must("DELEG-3", "delegating plugin", "gives it all variables that it got"),
      must("DELEG-4", "delegating plugin", "gives it the whole configuration that it got"),
      must("DELEG-5", "delegating plugin", "takes exit status 0 and a result on stdout for success"),
      should("DELEG-6", "delegating plugin", "lets the delegate's stderr through to its own"),
      must("DELEG-7", "delegating plugin", "calls it for CHECK, DEL and GC as well, and fails if it fails"),
      should("DELEG-8", "delegating plugin", "calls its DEL when its ADD failed, before it fails itself"),
    ],
  },
];
