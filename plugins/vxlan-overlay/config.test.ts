/** The stamp says from which configuration an overlay was made, so its text has to change with every option. */
import { readFile } from "node:fs/promises";
import { describe, expect, test } from "vitest";
import { readConfig } from "../../lib/cni/config.ts";
import { formatPrefixes } from "../../lib/ip/address.ts";
import { type OverlayOptions, optionsText } from "../../lib/overlay/settings.ts";
import { readOverlayConfig } from "./config.ts";

type Configuration = Readonly<Record<string, unknown>>;

const BASE: Configuration = {
  name: "pods",
  podCIDRs: ["10.244.1.0/24", "fd44:0:0:1::/64"],
  clusterCIDRs: ["10.244.0.0/16", "fd44::/48"],
  peersFile: "/etc/cni/overlay/peers.ndjson",
};

function read(more: Configuration) {
  const json = { cniVersion: "1.1.0", type: "vxlan-overlay", ...BASE, ...more };
  return readOverlayConfig(readConfig(new TextEncoder().encode(JSON.stringify(json))));
}

/** Another value of each option of the configuration. */
const CHANGES: Configuration = {
  name: "others",
  vni: 2,
  port: 4789,
  datapath: "gpe",
  underlay: "eth1",
  podCIDRs: ["10.244.2.0/24", "fd44:0:0:1::/64"],
  clusterCIDRs: ["10.244.0.0/15", "fd44::/48"],
  nonMasqueradeCIDRs: ["192.0.2.0/24"],
  peersFile: "/etc/cni/overlay/others.ndjson",
  peersDir: "/etc/cni/overlay/peers",
  peers: [{ nodeIP: "192.0.2.2", podCIDRs: ["10.244.2.0/24"] }],
  directRouting: true,
  mtu: 1400,
  txChecksumOffload: "off",
  pmtud: true,
  peersOnly: false,
  notrack: false,
  firewall: true,
  masquerade: false,
};

/** A configuration in which only one option is another one: there is one source of peers. */
const changed = (option: string): Configuration => ({
  ...(["peers", "peersDir"].includes(option) ? { peersFile: null } : {}),
  [option]: CHANGES[option],
});

describe("the options' text", () => {
  test.each(Object.keys(CHANGES))("changes with %s", (option) => {
    expect(optionsText(read(changed(option)))).not.toBe(optionsText(read({})));
  });

  test("is the same for the same options", () => {
    expect(optionsText(read({ vni: 1, port: 8472, datapath: "classic", mtu: 0 }))).toBe(optionsText(read({})));
  });

  test("is tested with every option of the page, and with every one that the code has", async () => {
    const page = await readFile(new URL("README.md", import.meta.url), "utf8");
    const [, section = ""] = page.split("\n## Options\n");
    const [table = ""] = section.split("\n## ");
    const rows = table.split("\n").filter((line) => line.startsWith("| `"));
    const options = rows.flatMap((line) =>
      [...(line.split("|")[1] ?? "").matchAll(/`(\w+)`/g)].map(([, name]) => name),
    );
    /* What `delegate` says is another plugin's configuration. */
    expect(["name", ...options.filter((name) => name !== "delegate")].sort()).toEqual(Object.keys(CHANGES).sort());

    const shown = (options: OverlayOptions): Record<string, string> => ({
      ...Object.fromEntries(Object.entries(options).map(([key, value]) => [key, JSON.stringify(value)])),
      podCidrs: formatPrefixes(options.podCidrs).join(),
      exempt: formatPrefixes(options.exempt).join(),
    });
    const before = shown(read({}));
    const others = Object.keys(CHANGES).map((option) => shown(read(changed(option))));
    for (const key of Object.keys(before))
      expect(
        others.some((other) => other[key] !== before[key]),
        key,
      ).toBe(true);
  });

  test("changes if a network is moved from one list to the other", () => {
    const nodes = ["10.244.1.0/24", "10.244.2.0/24"];
    const one = read({ podCIDRs: nodes, clusterCIDRs: ["10.244.0.0/16"] });
    const other = read({ podCIDRs: nodes.slice(0, 1), clusterCIDRs: [...nodes.slice(1), "10.244.0.0/16"] });
    expect(optionsText(one)).not.toBe(optionsText(other));
    const dual = read({});
    const single = read({
      podCIDRs: ["10.244.1.0/24"],
      clusterCIDRs: ["fd44:0:0:1::/64", "10.244.0.0/16", "fd44::/48"],
    });
    expect(optionsText(dual)).not.toBe(optionsText(single));
  });

  /* Nodes that run have stamps of this text. With another one each of them compares all its entries once. */
  test("is the text of earlier versions", () => {
    expect(optionsText(read({ txChecksumOffload: "on" })).split("\n")).toEqual([
      ...["pods", "1", "8472", "classic", "", "false", "0", "false", "/etc/cni/overlay/peers.ndjson", ""],
      ...["true", "true", "false", "true", "true"],
      ...["10.244.1.0/24", "fd44:0:0:1::/64", "10.244.0.0/16", "fd44::/48", ""],
    ]);
    const peers = [{ nodeIP: "192.0.2.2" }];
    const inline = read({ podCIDRs: ["10.244.1.0/24"], clusterCIDRs: [], peersFile: null, peers });
    expect(optionsText(inline).split("\n")).toEqual([
      ...["pods", "1", "8472", "classic", "", "false", "0", "false", "", ""],
      ...["true", "true", "false", "false", "", "10.244.1.0/24"],
      ...JSON.stringify(peers, null, 4)
        .split("\n")
        .map((line) => expect.stringContaining(line.trim())),
    ]);
  });
});
