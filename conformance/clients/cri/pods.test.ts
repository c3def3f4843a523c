/** Pods under the real containerd, as a kubelet starts and ends them. */
import { expect, test } from "vitest";
import { underContainerd } from "./kubelet.ts";
import { type Lab, until } from "./lab.ts";
import { GATEWAYS, hostPort, SERVER_PORT } from "./network.ts";

/** How many pods at once. */
const MANY = 30;
/** An address alone: what a server that was reached has said. */
const ADDRESS = /^[0-9a-f.:]+$/;

/** The rates that the node's queueing disciplines hold, in Mbit/s, the lowest first. */
async function limits(lab: Lab): Promise<number[]> {
  const disciplines = JSON.parse(await lab.containerd.node.exec("tc", ["-j", "qdisc", "show"])) as {
    kind: string;
    options: { rate?: number };
  }[];
  const rates = disciplines.filter((discipline) => discipline.kind === "tbf").map(({ options }) => options.rate ?? 0);
  return rates.map((bytes) => (bytes * 8) / 1e6).sort((a, b) => a - b);
}

await underContainerd((lab) => {
  test("connected, limited, published, gone", async () => {
    const pod = await lab().run(1);
    expect(pod.status.ready).toBe(true);
    expect(pod.addresses).toHaveLength(2);
    const links = (await lab().query(pod, "addr")) as { ifname: string; flags: string[] }[];
    expect(links.map((link) => link.ifname).sort()).toEqual(["eth0", "lo"]);
    for (const link of links) expect(link.flags, link.ifname).toContain("UP");
    const rates = await limits(lab());
    expect(rates, "a limit for each direction").toHaveLength(2);
    for (const [index, wanted] of [50, 100].entries()) {
      expect(rates[index]).toBeGreaterThanOrEqual(wanted);
      expect(rates[index], "no more than Ethernet's headers take besides").toBeLessThan(wanted * 1.04);
    }
    const server = await lab().serve(pod);
    for (const [family, gateway] of GATEWAYS.entries()) {
      const address = pod.addresses[family] ?? "";
      await until(async () => (await lab().ask(null, address, SERVER_PORT)) === gateway);
      expect(await lab().ask(null, gateway, hostPort(1)), "by the node's port").toMatch(ADDRESS);
    }
    expect(await lab().ask(server, "127.0.0.1", SERVER_PORT), "by its own loopback").toBe("127.0.0.1");
    await lab().end([pod]);
    expect(await lab().left()).toEqual([]);
  });

  test("two pods and the node", async () => {
    const pods = await lab().runMany(1, 2);
    const [first, second] = pods;
    if (first === undefined || second === undefined) throw new Error("no pods");
    const [one, two] = [await lab().serve(first), await lab().serve(second)];
    const node = await lab().containerd.node.start("agent", lab().agent, ["serve", "9090"]);
    for (const [family, gateway] of GATEWAYS.entries()) {
      const [a, b] = [first.addresses[family] ?? "", second.addresses[family] ?? ""];
      await until(async () => (await lab().ask(one, b, SERVER_PORT)) === a);
      expect(await lab().ask(two, a, SERVER_PORT), "each sees the other's own address").toBe(b);
      expect(await lab().ask(one, gateway, 9090), "the node sees the pod's address").toBe(a);
      expect(await lab().ask(one, gateway, hostPort(2)), "the other by the node's port").toMatch(ADDRESS);
      expect(await lab().ask(one, gateway, hostPort(1)), "itself by the node's port").toMatch(ADDRESS);
    }
    await lab().containerd.node.kill(node);
    await lab().end(pods);
    expect(await lab().left()).toEqual([]);
  });

  test(`${MANY} pods at once`, async () => {
    const pods = await lab().runMany(1, MANY);
    const addresses = pods.flatMap((pod) => pod.addresses);
    expect(addresses).toHaveLength(2 * MANY);
    expect(new Set(addresses).size).toBe(addresses.length);
    await lab().end(pods);
    expect(await lab().left()).toEqual([]);
  });
});
