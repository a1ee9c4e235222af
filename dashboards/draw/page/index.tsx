// The whole board on one page: rows, repeated panels, annotations. Says in <body data-drawn> when all of it stands.
import { createTheme, DashboardCursorSync, DataFrame, EventBusSrv, renderLegendFormat, stringToJsRegex, ThemeContext } from '@grafana/data';
import { GlobalStyles, PanelChrome, PanelContextProvider, PortalContainer } from '@grafana/ui';
import React from 'react';
import { createRoot } from 'react-dom/client';
import { MemoryRouter } from 'react-router-dom';
import { ask, fill, frames, Settings } from './data';
import { Mark, PanelBody } from './panels';

const CELL = 38; // pixels of one unit of the grid's height, gap included
const GAP = 8;

interface Drawn {
  panel: any;
  settings: Settings;
  frames: DataFrame[];
}

const context: any = { eventsScope: 'draw', eventBus: new EventBusSrv(), sync: () => DashboardCursorSync.Off };
const theme = createTheme({ colors: { mode: 'dark' } });

async function repeated(panels: any[], board: any, settings: Settings): Promise<Array<{ panel: any; settings: Settings }>> {
  const found: Array<{ panel: any; settings: Settings }> = [];
  let down = 0;
  for (const panel of panels) {
    const at = { ...panel.gridPos, y: panel.gridPos.y + down };
    if (!panel.repeat) {
      found.push({ panel: { ...panel, gridPos: at }, settings });
      continue;
    }
    const values = await options(panel.repeat, board, settings);
    const perRow = panel.maxPerRow ?? 4; // Grafana's default
    const w = 24 / Math.min(values.length, perRow);
    values.forEach((value, index) => {
      const gridPos = { ...at, w, x: (index % perRow) * w, y: at.y + Math.floor(index / perRow) * at.h };
      found.push({ panel: { ...panel, gridPos }, settings: { ...settings, values: { ...settings.values, [panel.repeat]: value } } });
    });
    down += (Math.ceil(values.length / perRow) - 1) * at.h;
  }
  return found;
}

async function options(name: string, board: any, settings: Settings): Promise<string[]> {
  const { query, regex } = board.templating.list.find((variable: any) => variable.name === name);
  const answer = await ask(settings, query.replace(/^query_result\(([^]*)\)$/, '$1'), 60, true);
  const shown = answer.map(({ metric }) => Object.entries(metric).map(([label, value]) => `${label}="${value}"`).join(','));
  return shown.map((labels) => labels.match(stringToJsRegex(regex))![1]).sort();
}

async function marks(board: any, settings: Settings): Promise<Mark[]> {
  const found: Mark[] = [];
  for (const { expr, titleFormat, iconColor, useValueForTime } of board.annotations.list) {
    for (const { metric, values } of await ask(settings, expr, 60, false)) {
      const instants = values!.map(([at, value]) => (useValueForTime ? Number(value) / 1000 : at));
      const starts = instants.filter((at, i) => i === 0 || at - instants[i - 1] > 60);
      found.push(...starts.map((at) => ({ at, title: renderLegendFormat(titleFormat, metric), colour: iconColor })));
    }
  }
  return found;
}

function Board({ board, drawn, marked, width }: { board: any; drawn: Drawn[]; marked: Mark[]; width: number }) {
  const bottom = Math.max(...drawn.map(({ panel }) => panel.gridPos.y + panel.gridPos.h));
  React.useEffect(() => {
    setTimeout(() => (document.body.dataset.drawn = 'yes'), 1500);
  }, []);
  return (
    <div id="board" style={{ width, boxSizing: 'border-box', background: theme.colors.background.canvas, padding: GAP }}>
      <h3 style={{ margin: '4px 4px 12px' }}>{board.title}</h3>
      <div style={{ position: 'relative', height: bottom * CELL }}>
        {drawn.map((one, index) => (
          <Placed key={index} {...one} marked={marked} width={width - 2 * GAP} />
        ))}
      </div>
    </div>
  );
}

function Placed({ panel, settings, frames, marked, width }: Drawn & { marked: Mark[]; width: number }) {
  const { x, y, w, h } = panel.gridPos;
  const place = { position: 'absolute' as const, left: (x * width) / 24, top: y * CELL };
  const title = fill(panel.title, settings.values);
  if (panel.type === 'row') {
    return <h5 style={{ ...place, margin: '10px 4px', color: theme.colors.text.primary }}>{title}</h5>;
  }
  const mine = marked.filter((mark) => !panel.repeat || mark.title.startsWith(`${settings.values[panel.repeat]} `));
  return (
    <div style={place}>
      <PanelChrome title={title} width={(w * width) / 24 - GAP} height={h * CELL - GAP}>
        {(innerWidth, innerHeight) => (
          <PanelBody {...{ panel, frames, settings, marks: mine }} width={innerWidth} height={innerHeight} />
        )}
      </PanelChrome>
    </div>
  );
}

async function main() {
  const { board, settings, width } = await (await fetch('/input.json')).json();
  const found = await repeated(board.panels, board, settings);
  // Panels that repeat over what is not there leave their row empty.
  const panels = found.filter(({ panel }, i) => panel.type !== 'row' || (found[i + 1] ?? { panel }).panel.type !== 'row');
  const drawn = await Promise.all(
    panels.map(async ({ panel, settings }) => {
      const pixels = (panel.gridPos.w * width) / 24;
      return { panel, settings, frames: await frames(panel, settings, pixels, theme) };
    })
  );
  const marked = await marks(board, settings);
  createRoot(document.getElementById('root')!).render(
    <ThemeContext.Provider value={theme}>
      <MemoryRouter>
        <GlobalStyles />
        <PanelContextProvider value={context}>
          <Board {...{ board, drawn, marked, width }} />
        </PanelContextProvider>
        <PortalContainer />
      </MemoryRouter>
    </ThemeContext.Provider>
  );
}

main().catch((error) => {
  document.body.dataset.failed = String(error?.stack ?? error);
});
