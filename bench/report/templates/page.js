"use strict";
(() => {
  const byId = (id) => document.getElementById(id);

  byId("theme").addEventListener("click", () => {
    const root = document.documentElement;
    const dark = root.dataset.theme
      ? root.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  });

  const data = byId("viewer-data");
  if (!data) return;
  const cases = JSON.parse(data.textContent);
  const panes = [...document.querySelectorAll("#viewer .pane")].map((pane) => ({
    canvas: pane.querySelector("canvas"),
    select: pane.querySelector("select"),
    value: pane.querySelector(".value"),
  }));
  const moves = {
    ArrowLeft: [-1, 0, 0], ArrowRight: [1, 0, 0], ArrowUp: [0, 1, 0], ArrowDown: [0, -1, 0],
    PageUp: [0, 0, 1], PageDown: [0, 0, -1],
  };
  const caseSelect = byId("viewer-case");
  const layout = byId("viewer-layout");
  const low = byId("viewer-low");
  const high = byId("viewer-high");
  let started = null; // the promise of it
  let linking = false;
  let turn = 0; // of loading, so that an older choice never overwrites a newer one

  const option = (text, value) => {
    const made = document.createElement("option");
    made.textContent = text;
    made.value = value;
    return made;
  };
  const fail = (text) => {
    byId("viewer-error").textContent = text;
    byId("viewer-error").hidden = false;
    byId("viewer-body").hidden = true;
  };
  const shown = () => cases[Number(caseSelect.value)];
  const whole = (value) => String(Math.round(value)).replace("-", "−");

  // Panes are linked here, whatever has the focus, so that mouse, touch and keyboard move all three alike. NiiVue's own
  // broadcast draws the others before it tells of a new place, and their old one came back with it.
  const located = (pane, location) => {
    const found = location.values && location.values[0];
    const value = found ? `${whole(found.value)} HU` : "";
    const place = location.vox ? `voxel ${[...location.vox].map(whole).join(", ")}` : "";
    pane.value.textContent = [value, place].filter(Boolean).join(" · ");
    link(pane, (other) => {
      other.view.scene.crosshairPos = [...pane.view.scene.crosshairPos];
      other.view.createOnLocationChange();
    });
  };
  const turned = (pane) => link(pane, (other) => {
    for (const part of ["renderAzimuth", "renderElevation"]) other.view.scene[part] = pane.view.scene[part];
  });
  const link = (pane, follow) => {
    if (linking) return;
    linking = true;
    for (const other of panes) {
      if (other === pane || !other.view || !other.view.volumes.length) continue;
      follow(other);
      other.view.drawScene();
    }
    linking = false;
  };

  const loadPane = async (pane, volume, mine) => {
    const image = await niivue.NVImage.loadFromBase64({
      base64: volume.data, name: "volume.nii.gz", cal_min: Number(low.value), cal_max: Number(high.value),
    });
    if (mine !== turn) return;
    while (pane.view.volumes.length) pane.view.removeVolume(pane.view.volumes[0]);
    pane.view.addVolume(image);
    pane.view.setSliceType(Number(layout.value));
  };
  const load = async (chosen) => {
    const mine = ++turn;
    const { volumes } = shown();
    await Promise.all(panes.filter((pane) => chosen.includes(pane)).map((pane) =>
      loadPane(pane, volumes[pane.select ? Number(pane.select.value) : 0], mine)));
    if (mine === turn) {
      panes[0].view.createOnLocationChange();
      byId("viewer").dataset.ready = "yes";
    }
  };
  const setWindow = () => {
    if (Number(low.value) >= Number(high.value)) low.value = Number(high.value) - Number(low.step);
    byId("viewer-low-text").textContent = whole(low.value);
    byId("viewer-high-text").textContent = whole(high.value);
    for (const { view } of panes) {
      if (!view || !view.volumes.length) continue;
      view.volumes[0].cal_min = Number(low.value);
      view.volumes[0].cal_max = Number(high.value);
      view.updateGLVolume();
    }
  };
  const resetWindow = () => {
    const [least, most] = shown().window;
    for (const slider of [low, high]) [slider.min, slider.max] = [least, most];
    [low.value, high.value] = [least, shown().white];
    setWindow();
  };
  const chooseCase = () => {
    const { volumes } = shown();
    panes.slice(1).forEach((pane, index) => {
      const before = pane.select.selectedOptions[0] && pane.select.selectedOptions[0].textContent;
      pane.select.replaceChildren(...volumes.slice(1).map((volume, place) =>
        option(volume.kind === "method" ? volume.title : `${volume.title} (${volume.kind})`, place + 1)));
      const same = [...pane.select.options].findIndex((entry) => entry.textContent === before);
      pane.select.selectedIndex = same >= 0 ? same : Math.min(index, volumes.length - 2);
    });
    resetWindow();
    return load(panes.filter((pane) => !pane.select || pane.select.options.length));
  };

  const starting = () => (started ||= start());
  const start = async () => {
    byId("viewer-body").hidden = false;
    if (!document.createElement("canvas").getContext("webgl2")) {
      fail("This browser has no WebGL 2, which the viewer draws with. The pictures above show the same cases.");
      return;
    }
    cases.forEach((entry, index) => caseSelect.append(option(`${entry.group} · ${entry.case}`, index)));
    for (const pane of panes) {
      pane.view = new niivue.Niivue({
        isRadiologicalConvention: true, isNearestInterpolation: true, sagittalNoseLeft: true, backColor: [0, 0, 0, 1],
        crosshairColor: [0.95, 0.7, 0.25, 0.9], crosshairWidth: 0.8, crosshairWidthUnit: "percent", fontColor: [0.75, 0.75, 0.72, 1], show3Dcrosshair: true, dragAndDropEnabled: false,
        multiplanarShowRender: 1, loadingText: "", logLevel: "error",
        isOrientCube: false, clipPlaneHotKey: "", cycleClipPlaneHotKey: "", viewModeHotKey: "",
        fontMinPx: 11, isForceMouseClickToVoxelCenters: true,
      });
      pane.view.onLocationChange = (location) => located(pane, location);
      pane.view.onAzimuthElevationChange = () => turned(pane);
      await pane.view.attachToCanvas(pane.canvas);
      pane.canvas.addEventListener("keydown", (event) => {
        const move = moves[event.key];
        if (!move || !pane.view.volumes.length) return;
        event.preventDefault();
        event.stopImmediatePropagation();
        pane.view.moveCrosshairInVox(...move);
      }, { capture: true });
    }
    await chooseCase();
  };
  const guarded = (work) => (...given) =>
    Promise.resolve().then(() => work(...given)).catch((error) => fail(`The viewer failed: ${error.message || error}`));

  caseSelect.addEventListener("change", guarded(chooseCase));
  for (const link of document.querySelectorAll("a[data-case]")) {
    link.addEventListener("click", guarded(async () => {
      await starting();
      if (!panes[0].view) return; // said in its place
      const { group, case: name } = link.dataset;
      caseSelect.value = String(cases.findIndex((entry) => entry.group === group && entry.case === name));
      await chooseCase();
    }));
  }
  for (const pane of panes) if (pane.select) pane.select.addEventListener("change", guarded(() => load([pane])));
  layout.addEventListener("change", () => {
    for (const { view } of panes) if (view) view.setSliceType(Number(layout.value));
  });
  low.addEventListener("input", setWindow);
  high.addEventListener("input", setWindow);
  byId("viewer-reset").addEventListener("click", resetWindow);
  new IntersectionObserver((entries, observer) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    observer.disconnect();
    guarded(starting)();
  }, { rootMargin: "400px" }).observe(byId("viewer"));
})();
