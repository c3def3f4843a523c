import { expect, test } from "vitest";
import { managedTable } from "./ruleset.ts";
import type { TableDefinition } from "./table-definition.ts";
import { tableCommand } from "./table-text.ts";

const TABLE: TableDefinition = {
  family: "inet",
  name: "t",
  comment: "a comment",
  stateCheck: "prerouting",
  targets: [],
  content: () => ({
    sets: [
      { name: "hosts", key: "ipv4_addr", data: "" },
      { name: "ports", key: "inet_proto . inet_service", data: "ipv4_addr . inet_service" },
    ],
    chains: [
      { name: "regular", hook: null, rules: ["accept"] },
      {
        name: "base",
        hook: { type: "filter", hook: 0, priority: -300 },
        rules: ["ip saddr @hosts drop", "goto regular"],
      },
    ],
  }),
};

test("a table as a script for nft", () => {
  expect(
    tableCommand(TABLE, (set) => (set === "hosts" ? ["192.0.2.1", "192.0.2.2"] : [])).join("\n"),
  ).toBe(`nft -f - <<'END'
table inet t {
  comment "a comment"
  set hosts {
    type ipv4_addr
    elements = { 192.0.2.1, 192.0.2.2 }
  }
  map ports {
    type inet_proto . inet_service : ipv4_addr . inet_service
  }
  chain regular {
    accept
  }
  chain base {
    type filter hook prerouting priority -300; policy accept;
    ip saddr @hosts drop
    goto regular
  }
}
END`);
});

test("nothing in a table ends the script early", () => {
  for (const name of ["inet", "bridge"] as const) {
    const lines = tableCommand(managedTable(name).definition, () => []);
    expect(lines.indexOf("END")).toBe(lines.length - 1);
  }
});
