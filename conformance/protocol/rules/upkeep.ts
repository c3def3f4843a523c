/** Section 2 of the specification: CHECK, STATUS and GC. */
import { type Group, may, must, should } from "./rule.ts";

export const UPKEEP: readonly Group[] = [
  {
    heading: "2 Execution: CHECK",
    rules: [
      must("CHECK-1", "plugin", "takes what to expect, interfaces and addresses, from `prevResult`"),
      must("CHECK-2", "plugin", "bears that later plugins of the chain have changed things, routes for one"),
      should("CHECK-3", "plugin", "fails if an interface, address or route of its own is missing or not right"),
      should("CHECK-4", "plugin", "fails if packet filter rules of its own are missing"),
      should("CHECK-5", "plugin", "fails if limits of its own are missing"),
      should("CHECK-6", "IPAM plugin", "fails if a lease is missing"),
      should("CHECK-7", "plugin", "fails if something outside is missing that the container's traffic needs"),
      should("CHECK-8", "plugin", "fails if it knows that nobody reaches the container"),
      must("CHECK-9", "plugin", "works right after ADD, whatever takes time to settle"),
      should("CHECK-10", "delegating plugin", "calls the delegate's CHECK and hands its failure on"),
      must("CHECK-11", "plugin", "prints nothing, or an error"),
      must("CHECK-12", "plugin", "needs CNI_COMMAND, CNI_CONTAINERID, CNI_NETNS and CNI_IFNAME"),
      may("CHECK-13", "plugin", "works without CNI_ARGS and CNI_PATH", { differs: "see ADD-7" }),
      must("CHECK-14", "runtime", "is called for what is attached only, and not where `disableCheck` is set"),
      must("CHECK-15", "runtime", "gets the result of the last ADD as `prevResult`, and ADD's parameters"),
      may(
        "CHECK-16",
        "runtime",
        "a chain's CHECK may end with the first failure, which may be taken for a lasting one",
      ),
    ],
  },
  {
    heading: "2 Execution: STATUS",
    rules: [
      must("STATUS-1", "plugin", "ends with 0 if an ADD can be served"),
      must("STATUS-2", "plugin", "fails with an error object if it knows that none can be"),
      should("STATUS-3", "plugin", "fails if something outside is missing that ADD needs"),
      should("STATUS-4", "plugin", "fails if nothing is left to give, addresses for one", {
        differs: "only with host-local's `statusFailsWhenExhausted`: by default it is told on standard error",
      }),
      must("STATUS-5", "plugin", "code 50: no ADD can be served"),
      must("STATUS-6", "plugin", "code 51: nor may what is attached be reachable", {
        untested: "not given: where pods can be added STATUS ends with 0 and a note, where not the code is 50",
      }),
      must("STATUS-7", "plugin", "nobody may need it to have been called"),
      should("STATUS-8", "plugin", "other operations may come though it failed"),
      must("STATUS-9", "delegating plugin", "calls the delegate's STATUS and fails with it"),
      may("STATUS-10", "plugin", "works without CNI_PATH", { differs: "see ADD-7" }),
    ],
  },
  {
    heading: "2 Execution: GC",
    rules: [
      should("GC-1", "plugin", "removes as much as it can of attachments that are not in the list"),
      may("GC-2", "plugin", "may take namespaces of such attachments, and what was in them, for gone"),
      should("GC-3", "plugin", "goes on after a failure, and reports it at the end"),
      must("GC-4", "delegating plugin", "is handed on to delegates"),
      must("GC-5", "plugin", "leaves what is in the list as it is, and what others share"),
      must("GC-6", "plugin", "reads the list from `cni.dev/valid-attachments`: `containerID` and `ifname`"),
      must("GC-7", "plugin", "needs CNI_COMMAND and CNI_PATH"),
      must("GC-8", "plugin", "prints nothing, or an error"),
      must("GC-9", "runtime", "is not used instead of DEL"),
    ],
  },
];
