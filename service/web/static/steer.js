// Shows the value of the slider while it is moved.
const scale = document.getElementById("scale");
const shown = document.querySelector("output[for=scale]");
scale.addEventListener("input", () => { shown.textContent = `× ${Number(scale.value).toFixed(1)}`; });
