/** A node changes over from one suite of plugins to the other while its pods run. */
import { afterEach, beforeAll, describe, expect, test } from "vitest";
import type { JsonObject } from "../../../testbed/harness.ts";
import { attach } from "../libcni/attach.ts";
import { buildAttach } from "../libcni/build.ts";
import { program } from "../programs.ts";
import { everything, olderReference, podwire, ran, reference } from "../suites.ts";
import { Lab, type Pod, until, whatIsMissing } from "./lab.ts";
import { GATEWAYS, hostPort, NETWORK, SERVER_PORT } from "./network.ts";

/** The older reference does not speak 1.1.0. */
const network: JsonObject = { ...NETWORK };
delete network.cniVersions;

const [ours, older, latest] = [await podwire(), await olderReference(), await reference()];
const moves = [
  { from: latest, to: ours, name: "containerd21" },
  { from: ours, to: latest, name: "containerd21" },
  { from: older, to: ours, name: "containerd16" },
  { from: ours, to: older, name: "containerd16" },
] as const;

describe.each(everything ? moves : moves.slice(0, 1))(
  "from $from.name to $to.name under $name",
  ({ from, to, name }) => {
    let missing = "";

    beforeAll(async () => {
      missing = (await whatIsMissing(name, from)) || (await whatIsMissing(name, to));
    });
    afterEach(async ({ task }) => {
      if (task.result?.state === "pass")
        ran(`containerd ${(await program(name)).version}`, to.name, `pods of ${from.name}`);
    });

    test("pods go on and leave nothing", async (context) => {
      if (missing !== "") context.skip(missing);
      const lab = await Lab.create(name, from, network);
      try {
        const old = [await lab.run(1), await lab.run(2), await lab.run(3)];
        for (const pod of old) await lab.serve(pod);
        await lab.install(to);
        const fresh = [await lab.run(11), await lab.run(12)];
        for (const pod of fresh) await lab.serve(pod);
        const all = [...old, ...fresh];
        expect(new Set(all.flatMap((pod) => pod.addresses)).size).toBe(10);
        for (const pod of all) await reached(lab, pod);
        for (const pod of fresh) if (to !== older) expect(await check(lab, pod), `CHECK of ${pod.number}`).toBe(0);
        for (const pod of old) expect(await check(lab, pod), `CHECK of ${pod.number}`).toBe(to === ours ? 101 : 999);
        await endAsKubelet(lab, old);
        if (from === ours) await collect(lab, fresh);
        for (const pod of fresh) await reached(lab, pod);
        await lab.end(fresh);
        /* What the collection noted of leases goes with the next one. */
        if (from === ours) await collect(lab, []);
        expect(await lab.left()).toEqual([]);
      } finally {
        await lab.remove();
      }
    });
  },
);

/**
 * Ends pods, trying again as a kubelet does: the reference's first DEL of Podwire's pod fails because it finds no chain of its
 * own, but has removed the interface by then, and its second DEL is content with that.
 */
async function endAsKubelet(lab: Lab, pods: readonly Pod[]): Promise<void> {
  for (const pod of pods) await lab.cri.endPod(pod.id).catch(() => lab.cri.endPod(pod.id));
}

/** Has Podwire, from a directory of its own, take what its pods left on a node that no longer has it. */
async function collect(lab: Lab, valid: readonly Pod[]): Promise<void> {
  expect((await lab.left()).length, "the reference does not know what is Podwire's").toBeGreaterThan(0);
  const answer = await attach(lab.containerd.node, await buildAttach("libcni13"), {
    operation: "gc",
    config: NETWORK,
    pluginPath: [ours.directory],
    valid: valid.map((pod) => ({ containerID: pod.id, ifname: "eth0" })),
  });
  expect(answer.error).toBeUndefined();
}

/** Asserts that a pod's server answers the node by the pod's addresses and by the node's port. */
async function reached(lab: Lab, pod: Pod): Promise<void> {
  for (const [family, gateway] of GATEWAYS.entries()) {
    /* An address of a bridge by the reference is not used at first, while the kernel looks for duplicates. */
    await until(async () => (await lab.ask(null, pod.addresses[family] ?? "", SERVER_PORT)) === gateway);
    expect(await lab.ask(null, gateway, hostPort(pod.number)), `port of pod ${pod.number}`).toMatch(/^[0-9a-f.:]+$/);
  }
}

/**
 * CHECK, which containerd never calls, with what containerd has told libcni at ADD.
 * @returns the error's code; 0 if there is none
 */
async function check(lab: Lab, pod: Pod): Promise<number> {
  const answer = await attach(lab.containerd.node, await buildAttach("libcni11"), {
    operation: "check",
    config: network,
    containerID: pod.id,
    netns: pod.status.netns,
    ifname: "eth0",
    capabilityArgs: {
      portMappings: [{ hostPort: hostPort(pod.number), containerPort: SERVER_PORT, protocol: "TCP" }],
      bandwidth: {
        ingressRate: 100_000_000,
        ingressBurst: 4294967295,
        egressRate: 50_000_000,
        egressBurst: 4294967295,
      },
    },
  });
  return answer.error?.code ?? 0;
}
