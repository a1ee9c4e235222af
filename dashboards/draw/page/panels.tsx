// One panel of a board, drawn with Grafana's own components.
import {
  DataFrame,
  dateTime,
  FieldType,
  formattedValueToString,
  getFieldDisplayName,
  renderTextPanelMarkdown,
  TimeRange,
  VizOrientation,
} from '@grafana/data';
import { BarGauge, BigValue, TimeSeries, UPlotConfigBuilder, useTheme2 } from '@grafana/ui';
import { TableNG } from '@grafana/ui/unstable';
import React from 'react';
import { fill, Settings } from './data';

export interface Mark {
  at: number; // epoch seconds
  title: string;
  colour: string;
}

interface Props {
  panel: any;
  frames: DataFrame[];
  settings: Settings;
  marks: Mark[];
  width: number;
  height: number;
}

export function PanelBody(props: Props) {
  const { panel, frames, settings, width, height } = props;
  const empty = !frames.some((frame) => frame.length > 0);
  if (panel.type === 'text') {
    const html = renderTextPanelMarkdown(fill(panel.options.content, settings.values));
    return <div className="markdown-html" style={{ padding: 8, fontSize: 13 }} dangerouslySetInnerHTML={{ __html: html }} />;
  }
  if (empty) {
    return <NoData width={width} height={height} text={panel.fieldConfig.defaults.noValue ?? 'No data'} />;
  }
  const Body = { stat: Stat, bargauge: Bars, table: Rows, 'state-timeline': Timeline }[panel.type as string] ?? Lines;
  return <Body {...props} />;
}

function NoData({ width, height, text }: { width: number; height: number; text: string }) {
  const theme = useTheme2();
  const centre = { display: 'flex', alignItems: 'center', justifyContent: 'center', color: theme.colors.text.secondary };
  return <div style={{ width, height, ...centre }}>{text}</div>;
}

function range({ from, to }: Settings): TimeRange {
  const [start, end] = [dateTime(from * 1000), dateTime(to * 1000)];
  return { from: start, to: end, raw: { from: start, to: end } };
}

function Lines({ panel, frames, settings, marks, width, height }: Props) {
  const timeRange = range(settings);
  const legend = panel.options.legend ?? { displayMode: 'list', placement: 'bottom', showLegend: true, calcs: [] };
  return (
    <TimeSeries frames={frames} width={width} height={height} timeRange={timeRange} timeZone="utc" legend={legend}>
      {(builder: UPlotConfigBuilder) => <Marks builder={builder} marks={marks} />}
    </TimeSeries>
  );
}

/** Annotations as vertical lines; Grafana's own plugin for them is not in its packages. */
function Marks({ builder, marks }: { builder: UPlotConfigBuilder; marks: Mark[] }) {
  const theme = useTheme2();
  React.useMemo(() => {
    builder.addHook('draw', (plot) => {
      const { ctx, bbox } = plot;
      for (const { at, colour } of marks) {
        const x = plot.valToPos(at * 1000, 'x', true);
        if (x < bbox.left || x > bbox.left + bbox.width) {
          continue;
        }
        ctx.save();
        ctx.strokeStyle = ctx.fillStyle = theme.visualization.getColorByName(colour);
        ctx.lineWidth = devicePixelRatio;
        ctx.setLineDash([4, 4]);
        ctx.beginPath();
        ctx.moveTo(x, bbox.top);
        ctx.lineTo(x, bbox.top + bbox.height);
        ctx.stroke();
        ctx.beginPath();
        ctx.moveTo(x, bbox.top + bbox.height);
        ctx.lineTo(x - 6, bbox.top + bbox.height + 9);
        ctx.lineTo(x + 6, bbox.top + bbox.height + 9);
        ctx.fill();
        ctx.restore();
      }
    });
  }, [builder]);
  return null;
}

function valueField(frame: DataFrame) {
  return frame.fields.find(({ type }) => type === FieldType.number)!;
}

function Stat({ panel, frames, width, height }: Props) {
  const theme = useTheme2();
  const field = valueField(frames[0]);
  const value = field.display!(field.values[field.values.length - 1]);
  const sparkline = panel.options.graphMode === 'area' && field.values.length > 1 ? { y: field, x: frames[0].fields[0] } : undefined;
  const { colorMode, graphMode, textMode } = panel.options;
  return <BigValue {...{ theme, width, height, value, sparkline, colorMode, graphMode, textMode }} />;
}

function Bars({ panel, frames, width, height }: Props) {
  const theme = useTheme2();
  const fields = frames.map((frame) => ({ ...valueField(frame), name: frame.name! }));
  const most = Math.max(...fields.map(({ values }) => values[0]));
  const least = Math.min(0, ...fields.map(({ values }) => values[0]));
  const each = Math.min(32, (height - 8) / fields.length - 8);
  const shown = fields.map((field) => ({ ...field.display!(field.values[0]), title: field.name }));
  const longest = (texts: string[]) => texts.reduce((found, text) => (text.length > found.length ? text : found), '');
  const [title, text] = [longest(shown.map(({ title }) => title)), longest(shown.map(formattedValueToString))];
  return (
    <div style={{ display: 'flex', flexDirection: 'column', gap: 8, padding: 4 }}>
      {fields.map((field, index) => (
        <BarGauge
          key={field.name}
          theme={theme}
          width={width - 8}
          height={each}
          field={{ ...field.config, min: least, max: most }}
          display={field.display}
          value={shown[index]}
          alignmentFactors={{ title, text }}
          orientation={VizOrientation.Horizontal}
          displayMode={panel.options.displayMode}
          valueDisplayMode={panel.options.valueMode}
          showUnfilled
        />
      ))}
    </div>
  );
}

function Rows({ panel, frames, settings, width, height }: Props) {
  const data = { ...frames[0], fields: frames[0].fields.filter(({ type }) => type !== FieldType.time) };
  data.fields.forEach((field) => (field.state = { ...field.state, displayName: getFieldDisplayName(field, data) }));
  return (
    <TableNG
      data={data}
      width={width}
      height={height}
      timeRange={range(settings)}
      fieldConfig={{ defaults: {}, overrides: [] }}
      sortBy={panel.options.sortBy}
      enableVirtualization={false}
    />
  );
}

/** States as bars. Grafana's state timeline is a plugin, and no component of its packages: these are plain boxes. */
function Timeline({ frames, settings, width, height }: Props) {
  const theme = useTheme2();
  const span = settings.to - settings.from;
  const states = new Map(frames.flatMap((frame) => stretches(frame, settings.to).map(({ text, color }) => [text, color])));
  return (
    <div style={{ padding: 8, width, height, display: 'flex', flexDirection: 'column', justifyContent: 'space-evenly' }}>
      {frames.map((frame) => (
        <div key={frame.name}>
          <div style={{ color: theme.colors.text.secondary, fontSize: 12, marginBottom: 4 }}>{frame.name}</div>
          <div style={{ position: 'relative', height: Math.min(96, height / frames.length - 64) }}>
            {stretches(frame, settings.to).map(({ from, to, text, color }) => (
              <div
                key={from}
                style={{
                  position: 'absolute',
                  left: `${(100 * (from - settings.from)) / span}%`,
                  width: `${(100 * (to - from)) / span}%`,
                  top: 0,
                  bottom: 0,
                  overflow: 'hidden',
                  whiteSpace: 'nowrap',
                  fontSize: 12,
                  padding: 4,
                  background: color,
                  color: theme.colors.getContrastText(color ?? '#888'),
                }}
              >
                {((to - from) / span) * width > 7 * (text?.length ?? 0) ? text : ''}
              </div>
            ))}
          </div>
        </div>
      ))}
      <div style={{ display: 'flex', gap: 16, fontSize: 12 }}>
        {[...states].map(([text, color]) => (
          <span key={text}>
            <span style={{ display: 'inline-block', width: 14, height: 4, margin: '0 6px 3px 0', background: color }} />
            {text}
          </span>
        ))}
      </div>
    </div>
  );
}

function stretches(frame: DataFrame, end: number) {
  const field = valueField(frame);
  const at = frame.fields[0].values.map((ms: number) => ms / 1000);
  const starts = at.map((_: number, i: number) => i).filter((i: number) => i === 0 || field.values[i] !== field.values[i - 1]);
  return starts
    .map((start: number, i: number) => {
      const { text, color } = field.display!(field.values[start]);
      return { from: at[start], to: i + 1 < starts.length ? at[starts[i + 1]] : end, text, color, value: field.values[start] };
    })
    .filter(({ value }: { value: number | null }) => value !== null);
}
