/** Other plugins than bridge: ptp, which makes interfaces too, and static, which names their addresses. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Suite } from "./calls.ts";
import { BACKENDS, complains, masquerade } from "./filter.ts";
import { addFaster, compare, makeNamespaces, measure, outputOf, type Pair, variants } from "./measure.ts";

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
