// Asks Prometheus what a panel's targets ask, and makes Grafana data frames of the answers.
import {
  createDataFrame,
  DataFrame,
  Field,
  FieldConfig,
  FieldType,
  getDisplayProcessor,
  GrafanaTheme2,
  renderLegendFormat,
  standardTransformers,
  standardTransformersRegistry,
  stringToJsRegex,
  transformDataFrame,
} from '@grafana/data';
import { firstValueFrom } from 'rxjs';

export interface Settings {
  prometheus: string;
  from: number; // epoch seconds
  to: number;
  values: Record<string, string>;
}

type Labels = Record<string, string>;
interface Series {
  metric: Labels;
  values?: Array<[number, string]>;
  value?: [number, string];
}

const SCRAPE = 30; // seconds between the recorded pages
const transformers = [standardTransformers.mergeTransformer, standardTransformers.organizeFieldsTransformer];
standardTransformersRegistry.setInit(() =>
  transformers.map((t) => ({ id: t.id, name: t.name, transformation: async () => t, editor: () => null }) as any)
);

/** The text with $name and ${name} replaced; what is no variable stays. */
export function fill(text: string, values: Record<string, string>): string {
  return text.replace(/\$(?:([a-z_]\w*)|\{(\w+)\})/g, (all, plain, braced) => values[plain ?? braced] ?? all);
}

export async function ask(settings: Settings, expr: string, step: number, instant: boolean): Promise<Series[]> {
  const interval = Math.max(step + SCRAPE, 4 * SCRAPE);
  const query = fill(expr, {
    ...settings.values,
    __rate_interval: `${interval}s`,
    __range: `${settings.to - settings.from}s`,
  });
  const when = instant ? { time: settings.to } : { start: settings.from, end: settings.to, step };
  const body = new URLSearchParams({ query, ...when } as any);
  const answer = await fetch(`${settings.prometheus}/api/v1/query${instant ? '' : '_range'}`, { method: 'POST', body });
  const { status, data, error } = await answer.json();
  if (status !== 'success') {
    throw new Error(`${error}: ${query}`);
  }
  return data.result;
}

/** Seconds between two points: as many as there are pixels, but no finer than the panel's own step. */
export function stepOf(panel: any, settings: Settings, width: number): number {
  const least = panel.interval ? parseInt(panel.interval, 10) * 60 : SCRAPE;
  return Math.max(least, Math.ceil((settings.to - settings.from) / width / 15) * 15);
}

export async function frames(panel: any, settings: Settings, width: number, theme: GrafanaTheme2): Promise<DataFrame[]> {
  const step = stepOf(panel, settings, width);
  const found: DataFrame[] = [];
  for (const target of panel.targets ?? []) {
    const answer = await ask(settings, target.expr, step, Boolean(target.instant));
    found.push(...(target.format === 'table' ? [tableFrame(panel, target.refId, answer)] : seriesFrames(target, answer, step)));
  }
  const done = panel.transformations
    ? await firstValueFrom(transformDataFrame(panel.transformations, found.filter((frame) => frame.length)))
    : found;
  done.flatMap((frame) => frame.fields.filter(({ type }) => type === FieldType.number)).forEach((field, index) => {
    field.state = { ...field.state, seriesIndex: index };
  });
  done.forEach((frame) => frame.fields.forEach((field) => configure(field, frame, panel, theme)));
  return done;
}

function seriesFrames(target: any, answer: Series[], step: number): DataFrame[] {
  return answer.map(({ metric, values, value }) => {
    const name = target.legendFormat ? renderLegendFormat(target.legendFormat, metric) : JSON.stringify(metric);
    const points = withGaps(values ?? [value!], step);
    return createDataFrame({
      refId: target.refId,
      name,
      fields: [
        { name: 'Time', type: FieldType.time, values: points.map(([at]) => at * 1000), config: { interval: step * 1000 } },
        { name, type: FieldType.number, values: points.map(([, one]) => one), config: { displayNameFromDS: name } },
      ],
    });
  });
}

/** Where points are missing, a null, so that no line bridges a time without data. */
function withGaps(points: Array<[number, string]>, step: number): Array<[number, number | null]> {
  return points.flatMap(([at, value], index): Array<[number, number | null]> => {
    const gap = index > 0 && at - points[index - 1][0] > 1.5 * step;
    return [...(gap ? [[at - step, null] as [number, null]] : []), [at, Number(value)]];
  });
}

function tableFrame(panel: any, refId: string, answer: Series[]): DataFrame {
  const labels = [...new Set(answer.flatMap(({ metric }) => Object.keys(metric)))].sort();
  return createDataFrame({
    refId,
    fields: [
      { name: 'Time', type: FieldType.time, values: answer.map(({ value }) => value![0] * 1000) },
      ...labels.map((label) => ({ name: label, type: FieldType.string, values: answer.map((s) => s.metric[label] ?? '') })),
      { name: panel.targets.length > 1 ? `Value #${refId}` : 'Value', type: FieldType.number, values: answer.map(({ value }) => Number(value![1])) },
    ],
  });
}

/** Gives the field what the panel's defaults and overrides say of it; Grafana itself does this with its plugin registries. */
function configure(field: Field, frame: DataFrame, panel: any, theme: GrafanaTheme2): void {
  const { defaults, overrides } = panel.fieldConfig ?? { defaults: {}, overrides: [] };
  const config: FieldConfig = { ...field.config, ...defaults, custom: { ...defaults.custom } };
  config.color = config.color ?? { mode: 'palette-classic' };
  for (const { matcher, properties } of overrides ?? []) {
    const name = field.config.displayName ?? field.config.displayNameFromDS ?? field.name;
    const fits: Record<string, () => boolean> = {
      byName: () => matcher.options === name,
      byRegexp: () => stringToJsRegex(matcher.options).test(name),
      byFrameRefID: () => matcher.options === frame.refId,
    };
    if (fits[matcher.id]()) {
      properties.forEach(({ id, value }: any) => set(config, id, value));
    }
  }
  config.thresholds?.steps.forEach((step: any) => (step.value = step.value ?? -Infinity));
  field.config = field.type === FieldType.time ? field.config : config;
  if (field.type === FieldType.number) {
    const known = field.values.filter((value) => value !== null);
    const [min, max] = [Math.min(...known), Math.max(...known)];
    field.state = { ...field.state, range: { min, max, delta: max - min } };
  }
  field.display = getDisplayProcessor({ field, theme });
}

function set(config: any, id: string, value: unknown): void {
  if (id.startsWith('custom.')) {
    config.custom[id.slice('custom.'.length)] = value;
  } else if (id !== 'links') {
    config[id] = value;
  }
}
