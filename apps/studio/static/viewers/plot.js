// Plots in plotly's JSON, in the colours of the page.
{
  const { register, main, make, now } = globalThis.frame;
  let place = null, bare = false;

  const plain = (value) => typeof value === "object" && value !== null && !Array.isArray(value) ? value : {};
  const paper = () => ({ paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", "font.color": now.colours.quiet ?? "#56616b",
    // Figures of ours bring a template for light and dark paper; those of others get quiet lines.
    ...(bare ? { "xaxis.gridcolor": line(), "yaxis.gridcolor": line(), "xaxis.zerolinecolor": line(), "yaxis.zerolinecolor": line() } : {}) });
  const line = () => now.colours.line ?? "#e1e5e8";

  register({
    async show([file]) {
      let figure;
      try {
        figure = JSON.parse(new TextDecoder().decode(file.data));
      } catch {
        throw new Error("it is not JSON");
      }
      if (!Array.isArray(figure?.data)) throw new Error("it holds no plot");
      const { width, height, ...layout } = plain(figure.layout);
      bare = !layout.template;
      place = make("div", { class: "plot", role: "figure", "aria-label": file.title });
      main().append(place);
      const config = { displaylogo: false, responsive: true, plotlyServerURL: "", showLink: false, showSendToCloud: false, showEditInChartStudio: false };
      await Plotly.newPlot(place, { data: figure.data, layout: { ...layout, autosize: true }, frames: figure.frames ?? [], config });
      await Plotly.relayout(place, paper());
    },
    look: () => { if (place) Plotly.relayout(place, paper()); },
  });
}
