/** Other plugins than bridge: ptp, which makes interfaces too, static, which names their addresses, and tuning, which changes them. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Suite } from "./calls.ts";
import { complains, masquerade } from "./filter.ts";
import { addFaster, BACKENDS, compare, makeNamespaces, measure, outputOf, type Pair, variants } from "./measure.ts";

const PODS = 50;
const GATEWAY = "10.64.0.1";

/** A network of links between pods and node. The route has a gateway: without one the reference's CHECK misses it. */
const network = (suite: Suite, name: string, extra: object) => ({
  cniVersion: "1.0.0",
  name,
  type: "ptp",
  ipam: {
    type: "host-local",
    dataDir: join(suite.state, name),
    ranges: [[{ subnet: "10.64.0.0/16" }]],
    routes: [{ dst: "0.0.0.0/0", gw: GATEWAY }],
  },
  ...extra,
});

const ptpCall = (verb: string, name: string, extra: (suite: Suite) => object) => (suite: Suite, index: number) => ({
  plugin: "ptp",
  verb,
  config: {
    ...network(suite, name, extra(suite)),
    ...(verb === "ADD" ? {} : { prevResult: JSON.parse(readFileSync(outputOf(suite, "ADD", index), "utf8")) }),
  },
  containerId: `bench-${index}`,
  pod: `${suite.name}-${index}`,
  mayComplain: complains(suite, verb),
});

export async function benchPtp(pair: Pair): Promise<void> {
  const suites = variants(pair, "ptp");
  await makeNamespaces(suites, PODS);
  for (const verb of ["ADD", "DEL"])
    await measure(
      suites,
      1,
      ptpCall(verb, "ptp", () => ({})),
    );
  for (const verb of ["ADD", "CHECK", "DEL"]) {
    addFaster(
      `ptp + host-local ${verb}`,
      suites,
      await measure(
        suites,
        PODS,
        ptpCall(verb, "ptp", () => ({})),
      ),
    );
  }
}

export async function benchPtpMasquerade(pair: Pair): Promise<void> {
  const suites = variants(pair, "ptp-masq", BACKENDS);
  await makeNamespaces(suites, PODS);
  for (const verb of ["ADD", "DEL"]) await measure(suites, 1, ptpCall(verb, "ptp-masq", masquerade));
  for (const verb of ["ADD", "DEL"]) {
    addFaster(
      `ptp with masquerade ${verb}`,
      suites,
      await measure(suites, PODS, ptpCall(verb, "ptp-masq", masquerade)),
    );
  }
}

export async function benchStatic(pair: Pair): Promise<void> {
  const make = (suite: Suite, index: number) => ({
    plugin: "static",
    verb: "ADD",
    config: {
      cniVersion: "1.0.0",
      name: "static",
      type: "ptp",
      ipam: { type: "static", addresses: [{ address: "10.64.0.5/16", gateway: GATEWAY }] },
    },
    containerId: `bench-${index}`,
    pod: `${suite.name}-0`,
  });
  await measure(pair, 1, make);
  await compare("static ADD", pair, 200, make);
}

const printed = (suite: Suite, verb: string, index: number): object =>
  JSON.parse(readFileSync(outputOf(suite, verb, index), "utf8"));

/** What nerdctl and podman have behind bridge, with all that it can do to a link. */
export async function benchTuning(pair: Pair): Promise<void> {
  const suites = variants(pair, "tuning");
  await makeNamespaces(suites, PODS);
  const pod = (suite: Suite, index: number) => ({ containerId: `bench-${index}`, pod: `${suite.name}-${index}` });
  const attach = (suite: Suite, index: number) => ({
    plugin: "bridge",
    verb: "ADD",
    config: { ...network(suite, "tuning", { type: "bridge", bridge: "cni0", isGateway: true }) },
    ...pod(suite, index),
  });
  await measure(suites, PODS, attach);
  const attached = new Map<string, object>();
  for (const suite of suites) {
    for (let index = 0; index < PODS; index += 1) {
      attached.set(`${suite.name} ${index}`, printed(suite, "ADD", index));
    }
  }
  const make = (verb: string) => (suite: Suite, index: number) => ({
    plugin: "tuning",
    verb,
    config: {
      ...{ cniVersion: "1.0.0", name: "tuning", type: "tuning", dataDir: join(suite.state, "tuned") },
      ...{ sysctl: { "net.core.somaxconn": "500", "net.ipv4.conf.IFNAME.arp_filter": "1" } },
      ...{ mac: `02:00:00:00:01:${(index + 16).toString(16)}`, mtu: 1400, txQLen: 500, promisc: true },
      prevResult: verb === "ADD" ? attached.get(`${suite.name} ${index}`) : printed(suite, "ADD", index),
    },
    ...pod(suite, index),
  });
  for (const verb of ["ADD", "CHECK", "DEL"]) {
    addFaster(`tuning ${verb}`, suites, await measure(suites, PODS, make(verb)));
  }
}
