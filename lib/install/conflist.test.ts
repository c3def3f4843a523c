import { describe, expect, test } from "vitest";
import { formatPrefix } from "../ip/address.ts";
import { isRendered, parseSubnets, renderConflist, subnetsOfNode } from "./conflist.ts";

const bytes = (value: unknown) => new TextEncoder().encode(typeof value === "string" ? value : JSON.stringify(value));
const plugin = (ipam: unknown) => ({ name: "pods", plugins: [{ type: "bridge", ipam }] });

describe("parseSubnets", () => {
  test("takes subnets of both families, with white space around commas", () => {
    expect(parseSubnets("10.244.1.0/24, fd00:10:244:1::/64").map(formatPrefix)).toEqual([
      "10.244.1.0/24",
      "fd00:10:244:1::/64",
    ]);
  });

  test.each(["", "10.244.1.0", "10.244.1.7/24", "10.244.1.0/33", "10.0.0.0/8,", "here"])("refuses %j", (text) => {
    expect(() => parseSubnets(text)).toThrow("is no subnet");
  });

  test("refuses what overlaps", () => {
    expect(() => parseSubnets("10.244.0.0/16,10.244.1.0/24")).toThrow("10.244.0.0/16 and 10.244.1.0/24 overlap");
  });
});

describe("subnetsOfNode", () => {
  const table = "# all nodes\nkind-worker2 10.244.2.0/24\n\nkind-worker\t 10.244.1.0/24,fd00:1::/64  # rack 1\n";

  test("finds a node by its whole name", () => {
    expect(subnetsOfNode(table, "kind-worker").map(formatPrefix)).toEqual(["10.244.1.0/24", "fd00:1::/64"]);
    expect(() => subnetsOfNode(table, "kind")).toThrow('the table of nodes has no node "kind"');
  });

  test.each(["a 10.1.0.0/24\na 10.2.0.0/24", "a", "a 10.1.0.0/24 10.2.0.0/24"])("refuses %j", (text) => {
    expect(() => subnetsOfNode(text, "a")).toThrow("the table of nodes is wrong about a");
  });
});

describe("renderConflist", () => {
  const subnets = parseSubnets("10.1.0.0/24,fd00:1::/64,10.2.0.0/24");
  const render = (template: unknown) => JSON.parse(renderConflist(bytes(template), subnets, "1.2.3")) as unknown;

  test("puts a set for each family where the ranges belong, and a list where the subnets do", () => {
    expect(render({ ...plugin({ ranges: "$RANGES" }), podCIDRs: "$SUBNETS" })).toEqual({
      name: "pods",
      plugins: [
        {
          type: "bridge",
          ipam: {
            ranges: [[{ subnet: "10.1.0.0/24" }, { subnet: "10.2.0.0/24" }], [{ subnet: "fd00:1::/64" }]],
          },
        },
      ],
      podCIDRs: ["10.1.0.0/24", "fd00:1::/64", "10.2.0.0/24"],
      writtenBy: expect.stringContaining("podwire-install 1.2.3"),
    });
  });

  test("keeps everything else, numbers of 64 bits and order included", () => {
    const text = '{"name":"pods","plugins":[{"type":"x","rate":18446744073709551615,"b":1,"a":"$RANGES "}]}';
    const written = renderConflist(bytes(text), [], "1.2.3");
    expect(written.replaceAll(/\s/g, "")).toContain('{"type":"x","rate":18446744073709551615,"b":1,"a":"$RANGES"}');
  });

  test("is known again, also when it was itself the template", () => {
    const written = renderConflist(bytes(plugin({})), [], "1.2.3");
    expect(isRendered(written)).toBe(true);
    expect(isRendered(renderConflist(bytes(written), [], "1.2.3"))).toBe(true);
    expect(renderConflist(bytes(written), [], "1.2.3")).toBe(written);
    for (const other of ["", "{", "[]", '{"writtenBy":"me"}', '{"writtenBy":["podwire-install 1"]}', "{}"])
      expect(isRendered(other), other).toBe(false);
  });

  test.each([
    ["{", "the template is no JSON"],
    [[], "the template is no network configuration list"],
    [{ plugins: [{ type: "x" }] }, "the template is no network configuration list"],
    [{ name: "../x", plugins: [{ type: "x" }] }, "the template is no network configuration list"],
    [{ name: "pods", type: "bridge" }, "the template is no network configuration list"],
    [{ name: "pods", plugins: [] }, "the template is no network configuration list"],
    [{ name: "pods", plugins: [{ type: "x" }, {}] }, "the template is no network configuration list"],
    [plugin({ ranges: "RANGES" }), "the template does not use the node's subnets"],
  ])("refuses %j", (template, message) => {
    expect(() => render(template)).toThrow(message);
  });

  test("refuses a template that asks for what is not given", () => {
    expect(() => renderConflist(bytes(plugin({ ranges: "$RANGES" })), [], "1")).toThrow("asks for the node's subnets");
  });
});
