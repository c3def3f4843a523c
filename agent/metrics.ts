/** The agent's numbers as text for Prometheus, in a file that node_exporter's textfile collector reads. Pure. */

export interface Numbers {
  /** Nodes that the API server has told of. */
  readonly nodes: number;
  /** Whether a complete list of them has been seen. */
  readonly isSynced: boolean;
  /** Whether the last run has left the node as it should be. */
  readonly isWorking: boolean;
  readonly runs: number;
  readonly failures: number;
  /** Runs that found something missing that the agent had not taken away itself. */
  readonly repairs: number;
  /** When the last run ended, in seconds since 1970; 0 before the first. */
  readonly lastRun: number;
}

/** A metric: name, kind, help and value. */
type Metric = readonly [string, string, string, number];

/** The text exposition format, one metric after the other. */
export function metricsText(numbers: Numbers): string {
  const metrics: Metric[] = [
    ["podwire_agent_nodes", "gauge", "Nodes that the API server has told of.", numbers.nodes],
    ["podwire_agent_synced", "gauge", "1 if a complete list of nodes has been seen.", numbers.isSynced ? 1 : 0],
    ["podwire_agent_working", "gauge", "1 if the network of this node is as it should be.", numbers.isWorking ? 1 : 0],
    ["podwire_agent_runs_total", "counter", "Comparisons of the node with what it should be.", numbers.runs],
    ["podwire_agent_failures_total", "counter", "Runs that could not make it so.", numbers.failures],
    ["podwire_agent_repairs_total", "counter", "Runs that put back what somebody had taken away.", numbers.repairs],
    ["podwire_agent_last_run_timestamp_seconds", "gauge", "When the last run ended.", numbers.lastRun],
  ];
  let text = "";
  for (const [name, kind, help, value] of metrics)
    text += `# HELP ${name} ${help}\n# TYPE ${name} ${kind}\n${name} ${value}\n`;
  return text;
}
